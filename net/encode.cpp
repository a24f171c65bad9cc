#include <nlohmann/json.hpp>

#include "net/codec.h"
#include "net/message_fields.h"
#include "net/utf8.h"

namespace sidestep::net {
namespace {

using nlohmann::json;

// Receivers refuse a message with text that is not UTF-8, in a JSON body too.
void repair(json& value) {
  if (value.is_string()) {
    auto& text = value.get_ref<std::string&>();
    if (!is_utf8(text)) text = repaired_utf8(text);
  } else if (value.is_object()) {
    json::object_t repaired;
    for (auto& [key, entry] : value.get_ref<json::object_t&>()) {
      repair(entry);
      repaired.emplace(is_utf8(key) ? key : repaired_utf8(key), std::move(entry));
    }
    value = std::move(repaired);
  } else if (value.is_array()) {
    for (json& entry : value) repair(entry);
  }
}

// Walks a message's table and collects its fields into one array.
class Encoder {
 public:
  explicit Encoder(Frames& frames) : frames_(frames) {}

  template <class T>
  void operator()(const char*, const T& field) {
    values_.push_back(value_of(field));
  }

  template <class E>
  void enumeration(const char*, E field, E) {
    values_.push_back(static_cast<std::uint64_t>(field));
  }

  json take() { return json(std::move(values_)); }

 private:
  template <class T>
  requires std::is_arithmetic_v<T> json value_of(T field) { return json(field); }

  json value_of(const std::string& field) {
    return is_utf8(field) ? json(field) : json(repaired_utf8(field));
  }

  json value_of(const NodeKey& field) {
    return json::binary(std::vector<std::uint8_t>(field.bytes.begin(), field.bytes.end()));
  }

  json value_of(const json& field) {
    json repaired = field;
    repair(repaired);
    return repaired;
  }

  json value_of(const Tensor& field) {
    frames_.push_back(field.payload);
    return json(json::array_t{static_cast<std::uint64_t>(field.dtype), value_of(field.shape)});
  }

  template <class T>
  json value_of(const std::optional<T>& field) {
    return field ? value_of(*field) : json();
  }

  template <class T>
  json value_of(const std::vector<T>& list) {
    json::array_t values;
    values.reserve(list.size());
    for (const T& entry : list) values.push_back(value_of(entry));
    return json(std::move(values));
  }

  template <class T>
  requires requires(Encoder& encoder, const T& field) { fields(encoder, field); }
  json value_of(const T& field) {
    Encoder inner(frames_);
    fields(inner, field);
    return inner.take();
  }

  Frames& frames_;
  json::array_t values_;
};

}  // namespace

Frames encode(const Envelope& envelope) {
  Frames frames(1);
  json body = std::visit(
      [&](const auto& message) {
        Encoder encoder(frames);
        fields(encoder, message);
        return encoder.take();
      },
      envelope.message);
  const json header(json::array_t{wire_version, static_cast<std::uint64_t>(envelope.message.index()),
                                  envelope.boot, envelope.id, std::move(body)});
  auto bytes = std::make_shared<const std::vector<std::uint8_t>>(json::to_msgpack(header));
  const auto* data = reinterpret_cast<const std::byte*>(bytes->data());
  const std::size_t size = bytes->size();
  frames.front() = Payload(std::move(bytes), data, size);
  return frames;
}

std::string_view name_of(const Message& message) { return message_names[message.index()]; }

}  // namespace sidestep::net

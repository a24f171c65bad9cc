#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "net/codec.h"
#include "net/message_fields.h"
#include "net/msgpack_check.h"

namespace sidestep::net {
namespace {

using nlohmann::json;

constexpr std::size_t dimensions_max = 8;

// What one message's decoding shares: the frames, the limits, where we are and the first error.
struct Reading {
  const Frames& frames;
  const CodecLimits& limits;
  std::size_t frames_used = 1;
  std::string path;  // "MicrobatchHop.route[3].node"
  Status error = {};

  bool failed() const { return !error.ok(); }
  void fail(const std::string& what) {
    if (!failed()) error = Status::invalid(path + ": " + what);
  }
};

// Lengthens the path while one field or entry is read.
class Place {
 public:
  Place(Reading& reading, const std::string& part) : reading_(reading), size_(reading.path.size()) {
    reading_.path += part;
  }
  ~Place() { reading_.path.resize(size_); }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

 private:
  Reading& reading_;
  std::size_t size_;
};

// Walks a message's table and fills its fields from one array.
class Decoder {
 public:
  Decoder(Reading& reading, json& values) : reading_(reading), values_(values) {
    if (!values_.is_array())
      reading_.fail(std::string("expected a list of fields, found ") + values_.type_name());
  }

  template <class T>
  void operator()(const char* name, T& field) {
    if (reading_.failed()) return;
    const Place place(reading_, std::string(".") + name);
    if (json* value = next()) read(*value, field);
  }

  template <class E>
  void enumeration(const char* name, E& field, E last) {
    if (reading_.failed()) return;
    const Place place(reading_, std::string(".") + name);
    json* value = next();
    std::uint32_t number = 0;
    if (value != nullptr) read(*value, number);
    if (number > static_cast<std::uint32_t>(last))
      reading_.fail("value " + std::to_string(number) + " is too large, at most " +
                    std::to_string(static_cast<std::uint32_t>(last)) + " allowed");
    if (!reading_.failed()) field = static_cast<E>(number);
  }

  // Call after the last field.
  void finish() {
    if (!reading_.failed() && next_ != values_.size())
      reading_.fail("has " + std::to_string(values_.size()) + " fields, expected " + std::to_string(next_));
  }

 private:
  json* next() {
    if (next_ < values_.size()) return &values_[next_++];
    reading_.fail("missing");
    return nullptr;
  }

  void wrong_type(const json& value, const char* expected) {
    reading_.fail(std::string("expected ") + expected + ", found " + value.type_name());
  }

  void read(json& value, bool& field) {
    if (!value.is_boolean()) return wrong_type(value, "true or false");
    field = value.get<bool>();
  }

  template <std::integral T>
  void read(json& value, T& field) {
    if (!value.is_number_integer()) return wrong_type(value, "a whole number");
    const bool fits = value.is_number_unsigned() ? std::in_range<T>(value.get<std::uint64_t>())
                                                 : std::in_range<T>(value.get<std::int64_t>());
    if (!fits)
      return reading_.fail("value " + value.dump() + " is out of range, allowed " +
                           std::to_string(std::numeric_limits<T>::min()) + " to " +
                           std::to_string(std::numeric_limits<T>::max()));
    field = value.get<T>();
  }

  void read(json& value, double& field) {
    if (!value.is_number()) return wrong_type(value, "a number");
    field = value.get<double>();
  }

  void read(json& value, std::string& field) {
    if (!value.is_string()) return wrong_type(value, "text");
    auto& text = value.get_ref<std::string&>();
    if (text.size() > reading_.limits.text_bytes_max)
      return reading_.fail("text of " + std::to_string(text.size()) + " bytes, at most " +
                           std::to_string(reading_.limits.text_bytes_max) + " allowed");
    field = std::move(text);
  }

  void read(json& value, NodeKey& field) {
    if (!value.is_binary()) return wrong_type(value, "a key");
    const auto& bytes = value.get_binary();
    if (bytes.size() != field.bytes.size())
      return reading_.fail("a key has 32 bytes, this has " + std::to_string(bytes.size()));
    std::copy(bytes.begin(), bytes.end(), field.bytes.begin());
  }

  // Free-form: whoever asked for it checks it.
  void read(json& value, json& field) { field = std::move(value); }

  void read(json& value, Tensor& field) {
    if (!value.is_array() || value.size() != 2) return wrong_type(value, "a tensor's type and shape");
    std::uint32_t dtype = 0;
    read(value[0], dtype);
    if (reading_.failed()) return;
    if (dtype > static_cast<std::uint32_t>(DType::int64))
      return reading_.fail("unknown tensor type " + std::to_string(dtype));
    field.dtype = static_cast<DType>(dtype);
    if (value[1].is_array() && value[1].size() > dimensions_max)
      return reading_.fail("a tensor of " + std::to_string(value[1].size()) + " dimensions, at most " +
                           std::to_string(dimensions_max) + " allowed");
    read(value[1], field.shape);
    if (reading_.failed()) return;

    std::size_t bytes = size_of(field.dtype);
    for (const std::int64_t size : field.shape) {
      if (size < 0) return reading_.fail("a dimension of " + std::to_string(size));
      if (__builtin_mul_overflow(bytes, static_cast<std::size_t>(size), &bytes))
        return reading_.fail("the shape's size overflows");
    }
    if (bytes > reading_.limits.tensor_bytes_max)
      return reading_.fail("a tensor of " + std::to_string(bytes) + " bytes, at most " +
                           std::to_string(reading_.limits.tensor_bytes_max) + " allowed");
    if (reading_.frames_used == reading_.frames.size()) return reading_.fail("its tensor frame is missing");
    field.payload = reading_.frames[reading_.frames_used++];
    if (field.payload.size() != bytes)
      reading_.fail("the shape needs " + std::to_string(bytes) + " bytes, the frame has " +
                    std::to_string(field.payload.size()));
  }

  template <class T>
  void read(json& value, std::optional<T>& field) {
    if (value.is_null()) return;
    T held{};
    read(value, held);
    field = std::move(held);
  }

  template <class T>
  void read(json& value, std::vector<T>& list) {
    if (!value.is_array()) return wrong_type(value, "a list");
    if (value.size() > reading_.limits.list_entries_max)
      return reading_.fail("a list of " + std::to_string(value.size()) + " entries, at most " +
                           std::to_string(reading_.limits.list_entries_max) + " allowed");
    list.resize(value.size());
    for (std::size_t i = 0; i < list.size() && !reading_.failed(); ++i) {
      const Place place(reading_, "[" + std::to_string(i) + "]");
      read(value[i], list[i]);
    }
  }

  template <class T>
  requires requires(Decoder& decoder, T& field) { fields(decoder, field); }
  void read(json& value, T& field) {
    Decoder inner(reading_, value);
    fields(inner, field);
    inner.finish();
  }

  Reading& reading_;
  json& values_;
  std::size_t next_ = 0;
};

template <std::size_t kind>
Message read_body(Reading& reading, json& body) {
  std::variant_alternative_t<kind, Message> message;
  Decoder decoder(reading, body);
  fields(decoder, message);
  decoder.finish();
  return message;
}

using BodyReader = Message (*)(Reading&, json&);

template <std::size_t... kinds>
constexpr std::array<BodyReader, sizeof...(kinds)> body_readers(std::index_sequence<kinds...>) {
  return {&read_body<kinds>...};
}

constexpr auto readers = body_readers(std::make_index_sequence<std::variant_size_v<Message>>());

bool is_unsigned_list(const json& header) {
  for (std::size_t i = 0; i < 4; ++i)
    if (!header[i].is_number_unsigned()) return false;
  return true;
}

}  // namespace

Result<Envelope> decode(const Frames& frames, const CodecLimits& limits) {
  if (frames.empty()) return Status::invalid("a message without frames");
  const Payload& bytes = frames.front();
  if (bytes.size() > limits.header_bytes_max)
    return Status::invalid("a header of " + std::to_string(bytes.size()) + " bytes, at most " +
                           std::to_string(limits.header_bytes_max) + " allowed");
  const MsgpackLimits msgpack_limits{.values_max = 2 * limits.list_entries_max};
  if (Status status = check_msgpack({bytes.data(), bytes.size()}, msgpack_limits); !status.ok())
    return status.with_context("header");
  const auto* begin = reinterpret_cast<const std::uint8_t*>(bytes.data());
  json header = json::from_msgpack(begin, begin + bytes.size(), /*strict=*/true, /*allow_exceptions=*/false);

  if (!header.is_array() || header.empty() || !header[0].is_number_unsigned())
    return Status::invalid("header: expected [version, kind, boot, id, body]");
  // Before anything else: another version may have any other fields.
  if (header[0] != wire_version)
    return Status::refused("the peer speaks wire version " + header[0].dump() + ", this program speaks " +
                           std::to_string(wire_version) + ": run the same release on both");
  if (header.size() != 5 || !is_unsigned_list(header))
    return Status::invalid("header: expected [version, kind, boot, id, body]");
  const auto kind = header[1].get<std::uint64_t>();
  if (kind >= readers.size()) return Status::invalid("header: unknown kind " + std::to_string(kind));

  Envelope envelope{
      .boot = header[2].get<std::uint64_t>(), .id = header[3].get<std::uint64_t>(), .message = {}};
  Reading reading{.frames = frames, .limits = limits, .path = std::string(message_names[kind])};
  envelope.message = readers[kind](reading, header[4]);
  if (reading.failed()) return reading.error;
  if (reading.frames_used != frames.size())
    return Status::invalid(std::string(message_names[kind]) + ": " + std::to_string(frames.size() - 1) +
                           " tensor frames, expected " + std::to_string(reading.frames_used - 1));
  return envelope;
}

}  // namespace sidestep::net

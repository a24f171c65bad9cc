// Messages of every kind with random contents, filled through the same tables that the codec walks.
#pragma once

#include "net/message_fields.h"
#include "net/random.h"

namespace sidestep::net {

class Filler {
 public:
  explicit Filler(std::uint64_t seed) : random_(seed) {}

  template <class T>
  void operator()(const char*, T& field) {
    fill(field);
  }

  template <class E>
  void enumeration(const char*, E& field, E last) {
    field = static_cast<E>(random_.between(0, static_cast<std::int64_t>(last)));
  }

 private:
  void fill(bool& field) { field = random_.chance(0.5); }

  // Small and huge values alike: MessagePack has a form for each size.
  template <std::integral T>
  void fill(T& field) {
    field = static_cast<T>(random_.next() >> random_.between(0, 63));
  }

  void fill(double& field) { field = (random_.uniform() - 0.5) * static_cast<double>(random_.next()); }

  void fill(std::string& field) {
    static const std::vector<std::string> parts{"a", "Z", "\n", "\"", "\u00e9", "\u20ac", "\U0001f40e"};
    for (std::int64_t n = random_.between(0, 40); n > 0; --n) field += parts[random_.next() % parts.size()];
  }

  void fill(NodeKey& field) {
    for (auto& byte : field.bytes) byte = static_cast<std::uint8_t>(random_.next());
  }

  void fill(nlohmann::json& field) {
    std::string text;
    fill(text);
    field = {{"text", text}, {"list", {1, -2, 2.5, nullptr, true}}, {"deep", {{"deeper", {{"x", text}}}}}};
  }

  void fill(Tensor& field) {
    field.dtype = static_cast<DType>(random_.between(0, 3));
    std::size_t bytes = size_of(field.dtype);
    for (std::int64_t n = random_.between(0, 4); n > 0; --n) {
      field.shape.push_back(random_.between(0, 5));
      bytes *= static_cast<std::size_t>(field.shape.back());
    }
    std::vector<std::byte> data(bytes);
    for (auto& byte : data) byte = static_cast<std::byte>(random_.next());
    field.payload = Payload::from_bytes(std::move(data));
  }

  template <class T>
  void fill(std::optional<T>& field) {
    if (random_.chance(0.5)) fill(field.emplace());
  }

  template <class T>
  void fill(std::vector<T>& list) {
    list.resize(static_cast<std::size_t>(random_.between(0, 20)));
    for (T& entry : list) fill(entry);
  }

  template <class T>
  requires requires(Filler& filler, T& field) { fields(filler, field); }
  void fill(T& field) { fields(*this, field); }

  Random random_;
};

// The message of that kind (its place in Message) which the seed names.
inline Envelope any_envelope(std::size_t kind, std::uint64_t seed) {
  Filler filler(seed);
  Envelope envelope{.boot = seed, .id = seed / 2, .message = {}};
  [&]<std::size_t... kinds>(std::index_sequence<kinds...>) {
    const auto make = [&]<std::size_t k>(std::integral_constant<std::size_t, k>) {
      if (k == kind) fields(filler, envelope.message.emplace<k>());
    };
    (make(std::integral_constant<std::size_t, kinds>{}), ...);
  }
  (std::make_index_sequence<std::variant_size_v<Message>>());
  return envelope;
}

// ---- equality, with the bytes of tensors ---------------------------------------------------

inline bool same(const Tensor& a, const Tensor& b) {
  return a.dtype == b.dtype && a.shape == b.shape && a.payload.size() == b.payload.size() &&
         std::equal(a.payload.data(), a.payload.data() + a.payload.size(), b.payload.data());
}

inline bool same(const MicrobatchHop& a, const MicrobatchHop& b) {
  return a.scope == b.scope && a.microbatch == b.microbatch && a.attempt == b.attempt &&
         a.evaluation == b.evaluation && a.direction == b.direction && a.hop == b.hop && a.route == b.route &&
         same(a.tensor, b.tensor);
}

inline bool same(const AverageChunk& a, const AverageChunk& b) {
  return a.scope == b.scope && a.stage == b.stage && a.attempt == b.attempt && a.phase == b.phase &&
         a.chunk == b.chunk && a.visits == b.visits && same(a.tensor, b.tensor);
}

inline bool same(const Slice& a, const Slice& b) {
  return a.job == b.job && a.commit == b.commit && a.stage == b.stage && a.part == b.part &&
         a.begin == b.begin && a.problem == b.problem && same(a.tensor, b.tensor);
}

inline bool same(const Probe& a, const Probe& b) {
  return a.number == b.number && a.reply_bytes == b.reply_bytes && same(a.tensor, b.tensor);
}

inline bool same(const ProbeReply& a, const ProbeReply& b) {
  return a.number == b.number && same(a.tensor, b.tensor);
}

template <std::equality_comparable T>
bool same(const T& a, const T& b) {
  return a == b;
}

inline bool same(const Envelope& a, const Envelope& b) {
  if (a.boot != b.boot || a.id != b.id || a.message.index() != b.message.index()) return false;
  return std::visit(
      [&](const auto& message) {
        return same(message, std::get<std::decay_t<decltype(message)>>(b.message));
      },
      a.message);
}

}  // namespace sidestep::net

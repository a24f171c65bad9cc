// Tensors as the wire and the cores see them: a type, a shape and bytes that nobody copies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "net/assert.h"

namespace sidestep::net {

// Immutable bytes kept alive by `owner`: a LibTorch storage, a received ZeroMQ frame, a vector.
// Copying a Payload shares the bytes. Thread-safe as far as the owner's bytes stay unchanged.
class Payload {
 public:
  Payload() = default;
  Payload(std::shared_ptr<const void> owner, const std::byte* data, std::size_t size)
      : owner_(std::move(owner)), data_(data), size_(size) {}

  static Payload from_bytes(std::vector<std::byte> bytes) {
    auto owner = std::make_shared<std::vector<std::byte>>(std::move(bytes));
    const std::byte* data = owner->data();
    const std::size_t size = owner->size();
    return {std::move(owner), data, size};
  }

  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  const std::shared_ptr<const void>& owner() const { return owner_; }

  // The same bytes, narrowed; precondition: offset + length <= size().
  Payload slice(std::size_t offset, std::size_t length) const {
    SIDESTEP_ASSERT(offset <= size_ && length <= size_ - offset);
    return {owner_, data_ + offset, length};
  }

 private:
  std::shared_ptr<const void> owner_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

enum class DType : std::uint8_t { float32 = 0, bfloat16 = 1, uint8 = 2, int64 = 3 };

constexpr std::size_t size_of(DType type) {
  switch (type) {
    case DType::float32:
      return 4;
    case DType::bfloat16:
      return 2;
    case DType::uint8:
      return 1;
    case DType::int64:
      return 8;
  }
  return 0;
}

// Row-major, contiguous. Invariant (checked by the codec on the way in): the payload holds exactly
// product(shape) * size_of(dtype) bytes.
struct Tensor {
  DType dtype = DType::float32;
  std::vector<std::int64_t> shape;
  Payload payload;

  bool empty() const { return payload.size() == 0; }
};

}  // namespace sidestep::net

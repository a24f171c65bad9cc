#include "daemon/executor/tensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "net/assert.h"

namespace sidestep::daemon {
namespace {

constexpr std::uintptr_t vector_bytes = 64;

Status misfit(const net::Tensor& tensor) {
  std::string shape;
  for (const std::int64_t extent : tensor.shape)
    shape += (shape.empty() ? "" : ", ") + std::to_string(extent);
  return Status::invalid("a tensor of shape [" + shape + "] and " +
                         std::to_string(net::size_of(tensor.dtype)) + " bytes an element came with " +
                         std::to_string(tensor.payload.size()) + " bytes");
}

bool fits(const net::Tensor& tensor) {
  std::uint64_t bytes = net::size_of(tensor.dtype);
  for (const std::int64_t extent : tensor.shape) {
    if (extent < 0) return false;
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(extent), &bytes)) return false;
  }
  return bytes == tensor.payload.size();
}

}  // namespace

net::DType wire_type(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return net::DType::float32;
    case at::kBFloat16:
      return net::DType::bfloat16;
    case at::kByte:
      return net::DType::uint8;
    default:
      SIDESTEP_ASSERT(type == at::kLong);
      return net::DType::int64;
  }
}

at::ScalarType scalar_type(net::DType type) {
  switch (type) {
    case net::DType::float32:
      return at::kFloat;
    case net::DType::bfloat16:
      return at::kBFloat16;
    case net::DType::uint8:
      return at::kByte;
    case net::DType::int64:
      break;
  }
  return at::kLong;
}

net::Tensor to_wire(const at::Tensor& tensor) {
  SIDESTEP_ASSERT(tensor.is_cpu());
  auto owner = std::make_shared<at::Tensor>(tensor.contiguous());
  const auto* data = static_cast<const std::byte*>(owner->const_data_ptr());
  const auto bytes = static_cast<std::size_t>(owner->nbytes());
  return {wire_type(tensor.scalar_type()), tensor.sizes().vec(), net::Payload(std::move(owner), data, bytes)};
}

Result<at::Tensor> from_wire(const net::Tensor& tensor, bool aligned) {
  if (!fits(tensor)) return misfit(tensor);
  const auto options = at::TensorOptions().dtype(scalar_type(tensor.dtype));
  const auto address = reinterpret_cast<std::uintptr_t>(tensor.payload.data());
  if (address % (aligned ? vector_bytes : net::size_of(tensor.dtype)) != 0) {
    at::Tensor copy = at::empty(tensor.shape, options);
    std::memcpy(copy.mutable_data_ptr(), tensor.payload.data(), tensor.payload.size());
    return copy;
  }
  void* data = const_cast<std::byte*>(tensor.payload.data());  // read only, as the header says
  return at::from_blob(
      data, tensor.shape, [owner = tensor.payload.owner()](void*) {}, options);
}

}  // namespace sidestep::daemon

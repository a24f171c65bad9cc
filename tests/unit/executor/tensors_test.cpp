#include "daemon/executor/tensors.h"

#include "tests/unit/model/small_job.h"
#include "tests/unit/torch/catch.h"

namespace sidestep::daemon {

using namespace testing;

TEST_CASE("Tensors cross between the wire and LibTorch without a copy") {
  const at::Tensor tensor = random_normal({3, 4}, 1);
  net::Tensor wire = to_wire(tensor);
  CHECK(wire.payload.data() == static_cast<const std::byte*>(tensor.const_data_ptr()));
  CHECK((wire.shape == std::vector<std::int64_t>{3, 4}));
  const at::Tensor back = from_wire(wire, true).value();
  CHECK(back.const_data_ptr() == tensor.const_data_ptr());

  // The payload lives as long as the last tensor that reads it.
  auto owner = std::make_shared<std::vector<float>>(std::vector<float>{1, 2, 3, 4});
  const std::weak_ptr<std::vector<float>> watched = owner;
  const auto* bytes = reinterpret_cast<const std::byte*>(owner->data());
  net::Tensor frame{net::DType::float32, {4}, net::Payload(std::move(owner), bytes, 16)};
  std::optional<at::Tensor> reader = from_wire(frame, false).value();
  CHECK(reader->const_data_ptr() == bytes);
  frame = {};
  CHECK_FALSE(watched.expired());
  reader.reset();
  CHECK(watched.expired());
}

TEST_CASE("Tensors that do not fit their bytes are refused, misaligned ones copied") {
  net::Tensor tensor = to_wire(at::ones({3}));
  tensor.payload = tensor.payload.slice(1, 4);
  CHECK_FALSE(from_wire(tensor, false).ok());
  tensor.shape = {1};
  CHECK(from_wire(tensor, false).value().const_data_ptr() != tensor.payload.data());
  tensor.shape = {1, -1};
  CHECK_FALSE(from_wire(tensor, false).ok());
  tensor.shape = {1L << 40, 1L << 40};
  CHECK_FALSE(from_wire(tensor, false).ok());
}

}  // namespace sidestep::daemon

#include "daemon/executor/tensor_pool.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <c10/util/Exception.h>

#include <catch2/catch.hpp>
#include <optional>
#include <thread>

namespace sidestep::daemon {
namespace {

constexpr std::int64_t mebibyte = 1 << 20;

at::Tensor bytes(std::int64_t count) { return at::empty({count}, at::kByte); }

}  // namespace

TEST_CASE("TensorPool gives a block out again, to tensors of its size alone") {
  TensorPool& pool = TensorPool::install();
  pool.trim();
  const std::uint64_t used = pool.used_bytes();
  std::optional<at::Tensor> first = bytes(mebibyte);
  const void* place = first->data_ptr();
  CHECK(reinterpret_cast<std::uintptr_t>(place) % 64 == 0);
  CHECK(pool.used_bytes() == used + mebibyte);
  CHECK(pool.kept_bytes() == 0);
  first.reset();
  CHECK(pool.used_bytes() == used);
  CHECK(pool.kept_bytes() == mebibyte);

  const at::Tensor larger = bytes(2 * mebibyte);
  CHECK(larger.data_ptr() != place);
  const at::Tensor same = bytes(mebibyte - 5);
  CHECK(same.data_ptr() == place);
  CHECK(pool.kept_bytes() == 0);
}

TEST_CASE("TensorPool: trim gives back what no tensor uses, and no more") {
  TensorPool& pool = TensorPool::install();
  const at::Tensor held = at::full({mebibyte}, 7, at::kByte);
  bytes(mebibyte);
  REQUIRE(pool.kept_bytes() >= mebibyte);
  const std::uint64_t used = pool.used_bytes();
  pool.trim();
  CHECK(pool.kept_bytes() == 0);
  CHECK(pool.used_bytes() == used);
  CHECK(held.eq(7).all().item<bool>());
}

TEST_CASE("TensorPool: small tensors are not its business") {
  TensorPool& pool = TensorPool::install();
  const std::uint64_t used = pool.used_bytes();
  const at::Tensor small = bytes(1000), none = bytes(0);
  CHECK(pool.used_bytes() == used);
}

TEST_CASE("TensorPool: another thread may free a tensor") {
  TensorPool& pool = TensorPool::install();
  pool.trim();
  at::Tensor tensor = bytes(mebibyte);
  std::thread([moved = std::move(tensor)]() mutable { moved.reset(); }).join();
  CHECK(pool.kept_bytes() == mebibyte);
}

TEST_CASE("TensorPool: more than there is throws, with the number of bytes") {
  TensorPool::install();
  CHECK_THROWS_WITH(bytes(std::int64_t{1} << 60),
                    Catch::Contains("you tried to allocate 1152921504606846976"));
}

}  // namespace sidestep::daemon

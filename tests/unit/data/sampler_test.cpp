#include "daemon/data/sampler.h"

#include <catch2/catch.hpp>
#include <set>

namespace sidestep::daemon {
namespace {

Sampler small(std::uint64_t seed) {
  Sampler sampler;
  sampler.seed = seed;
  sampler.sequence_length = 8;
  sampler.microbatch_size = 3;
  sampler.microbatches_per_step = 2;
  sampler.training_tokens = 8 * 60 + 5;
  sampler.validation_tokens = 100;
  sampler.validation_microbatches = 4;
  return sampler;
}

std::vector<std::uint64_t> positions(const Sampler& sampler, std::uint64_t steps) {
  std::vector<std::uint64_t> all;
  for (std::uint64_t step = 1; step <= steps; ++step)
    for (std::uint64_t microbatch = 0; microbatch < sampler.microbatches_per_step; ++microbatch)
      for (std::uint64_t row = 0; row < sampler.microbatch_size; ++row)
        all.push_back(sampler.first_token(step, microbatch, row));
  return all;
}

}  // namespace

TEST_CASE("Permutation: every value once, for every size") {
  for (std::uint64_t size = 1; size <= 130; ++size) {
    std::set<std::uint64_t> seen;
    for (std::uint64_t value = 0; value < size; ++value) {
      const std::uint64_t image = permute(7, size, value);
      CHECK(image < size);
      seen.insert(image);
    }
    CHECK(seen.size() == size);
  }
}

TEST_CASE("Sampler takes every window once an epoch, in another order each epoch") {
  const Sampler sampler = small(1);
  REQUIRE(sampler.windows() == 60);
  const auto all = positions(sampler, 20);  // 6 a step: two epochs
  const std::set<std::uint64_t> first(all.begin(), all.begin() + 60);
  const std::set<std::uint64_t> second(all.begin() + 60, all.end());
  CHECK(first.size() == 60);
  CHECK(first == second);
  CHECK(*first.begin() == 0);
  CHECK(*first.rbegin() == 59 * 8);
  CHECK_FALSE(std::equal(all.begin(), all.begin() + 60, all.begin() + 60));
}

TEST_CASE("Sampler: another seed is another order, the same seed the same everywhere") {
  CHECK(positions(small(1), 10) == positions(small(1), 10));
  CHECK(positions(small(1), 10) != positions(small(2), 10));
  // Fixed for good: a run record of one build replays on another.
  const std::vector<std::uint64_t> first_step{88, 464, 192, 288, 360, 336};
  CHECK(positions(small(1), 1) == first_step);
}

TEST_CASE("Sampler: a window and its targets end inside the part to train on") {
  Sampler sampler = small(3);
  for (std::uint64_t tokens = 9; tokens < 40; ++tokens) {
    sampler.training_tokens = tokens;
    for (const std::uint64_t first : positions(sampler, 5)) CHECK(first + 8 + 1 <= tokens);
  }
}

TEST_CASE("Sampler: validation lies in the held-out part, spread over it") {
  const Sampler sampler = small(1);
  std::set<std::uint64_t> seen;
  for (std::uint64_t microbatch = 0; microbatch < 4; ++microbatch)
    for (std::uint64_t row = 0; row < 3; ++row) {
      const std::uint64_t first = sampler.first_validation_token(microbatch, row);
      CHECK(first >= sampler.training_tokens);
      CHECK(first + 8 + 1 <= sampler.training_tokens + sampler.validation_tokens);
      seen.insert(first);
    }
  CHECK(seen.size() == 12);
  CHECK(*seen.rbegin() - *seen.begin() > 80);
}

}  // namespace sidestep::daemon

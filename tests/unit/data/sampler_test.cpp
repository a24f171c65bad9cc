#include "daemon/data/sampler.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <set>

namespace sidestep::daemon {
namespace {

Sampler small(std::uint64_t seed) {
  Sampler sampler;
  sampler.seed = seed;
  sampler.sequence_length = 8;
  sampler.microbatch_size = 3;
  sampler.microbatches_per_step = 2;
  sampler.parts = {{0, 8 * 60 + 5, 100, 1}};
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
  REQUIRE(sampler.windows(0) == 60);
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
    sampler.parts = {{0, tokens, 0, 1}};
    for (const std::uint64_t first : positions(sampler, 5)) CHECK(first + 8 + 1 <= tokens);
  }
}

TEST_CASE("Sampler: validation lies in the held-out part, spread over it") {
  const Sampler sampler = small(1);
  std::set<std::uint64_t> seen;
  for (std::uint64_t microbatch = 0; microbatch < 4; ++microbatch)
    for (std::uint64_t row = 0; row < 3; ++row) {
      const std::uint64_t first = sampler.first_validation_token(microbatch, row);
      CHECK(first >= sampler.parts[0].training);
      CHECK(first + 8 + 1 <= sampler.parts[0].training + sampler.parts[0].validation);
      seen.insert(first);
    }
  CHECK(seen.size() == 12);
  CHECK(*seen.rbegin() - *seen.begin() > 80);
}

namespace {

// Three files of 60, 7 and 200 sequences, one after the other.
Sampler mixture() {
  Sampler sampler = small(5);
  sampler.microbatch_size = 10;
  sampler.parts = {{0, 481, 40, 5}, {521, 57, 40, 2}, {618, 1601, 40, 3}};
  return sampler;
}

std::size_t part_at(const Sampler& sampler, std::uint64_t token) {
  std::size_t part = 0;
  while (part + 1 < sampler.parts.size() && token >= sampler.parts[part + 1].first) ++part;
  return part;
}

}  // namespace

TEST_CASE("Sampler: of every beginning each file has its weight, to less than one for each file") {
  const Sampler sampler = mixture();
  std::vector<std::uint64_t> counts(3);
  std::uint64_t taken = 0;
  for (const std::uint64_t token : positions(sampler, 50)) {
    const auto turn = sampler.turn(taken);
    CHECK(turn.part == part_at(sampler, token));
    CHECK(turn.index == counts[turn.part]);
    ++counts[turn.part];
    ++taken;
    for (std::size_t part = 0; part < 3; ++part) {
      const double share = sampler.parts[part].weight / 10;
      CHECK(std::abs(static_cast<double>(counts[part]) - share * static_cast<double>(taken)) < 3);
      CHECK(sampler.taken(part, taken) == counts[part]);
    }
  }
}

TEST_CASE("Sampler: a file takes every window of its own once before it takes one again") {
  const Sampler sampler = mixture();
  std::vector<std::vector<std::uint64_t>> of_part(3);
  for (const std::uint64_t token : positions(sampler, 20)) of_part[part_at(sampler, token)].push_back(token);
  for (std::size_t part = 0; part < 3; ++part) {
    const std::size_t windows = sampler.windows(part);
    REQUIRE(of_part[part].size() > 70);
    for (std::size_t begin = 0; begin < of_part[part].size(); begin += windows) {
      const std::size_t end = std::min(begin + windows, of_part[part].size());
      const std::set<std::uint64_t> epoch(of_part[part].begin() + static_cast<std::ptrdiff_t>(begin),
                                          of_part[part].begin() + static_cast<std::ptrdiff_t>(end));
      CHECK(epoch.size() == end - begin);
      for (const std::uint64_t token : epoch) {
        CHECK((token - sampler.parts[part].first) % 8 == 0);
        CHECK(token + 9 <= sampler.parts[part].first + sampler.parts[part].training);
      }
    }
  }
}

TEST_CASE("Sampler: the first of several files keeps the order that it has alone") {
  Sampler alone = mixture();
  alone.parts.resize(1);
  Sampler mixed = mixture();
  std::vector<std::uint64_t> first_file;
  for (const std::uint64_t token : positions(mixed, 5))
    if (part_at(mixed, token) == 0) first_file.push_back(token);
  auto order = positions(alone, 5);
  order.resize(first_file.size());
  CHECK(first_file == order);
}

TEST_CASE("Sampler: validation takes each file's held-out part by weight, and nothing else") {
  const Sampler sampler = mixture();
  std::vector<std::set<std::uint64_t>> of_part(3);
  for (std::uint64_t microbatch = 0; microbatch < 4; ++microbatch)
    for (std::uint64_t row = 0; row < 10; ++row) {
      const std::uint64_t token = sampler.first_validation_token(microbatch, row);
      const DataPart& part = sampler.parts[part_at(sampler, token)];
      CHECK(token >= part.first + part.training);
      CHECK(token + 9 <= part.first + part.training + part.validation);
      of_part[part_at(sampler, token)].insert(token);
    }
  CHECK(of_part[0].size() == 20);
  CHECK(of_part[1].size() == 8);
  CHECK(of_part[2].size() == 12);
}

}  // namespace sidestep::daemon

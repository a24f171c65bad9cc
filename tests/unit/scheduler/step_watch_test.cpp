#include "scheduler/step_watch.h"

#include <catch2/catch.hpp>

#include "tests/unit/scheduler/swarm.h"

using namespace sidestep;
using scheduler::StepSets;
using scheduler::StepWatch;
using scheduler::testing::key;

namespace {

net::StepTimes times(std::uint64_t step, std::int64_t commit_us = 1, std::uint64_t epoch = 1) {
  return {{"job-1", 1, epoch, step}, {}, {}, commit_us};
}

}  // namespace

TEST_CASE("StepSets: a step is whole when every node has told") {
  StepSets sets;
  sets.add(key(1), times(8), 2);
  CHECK_FALSE(sets.last());
  sets.add(key(1), times(8, 5), 2);  // again: the same node
  CHECK_FALSE(sets.last());
  sets.add(key(2), times(8, 7), 2);
  REQUIRE(sets.last());
  CHECK(sets.last()->step == 8);
  CHECK(sets.last()->nodes.at(key(1)).commit_us == 5);
  CHECK(sets.last()->nodes.at(key(2)).commit_us == 7);
}

TEST_CASE("StepSets: the newest whole step stays, and what comes late or never becomes whole goes") {
  StepSets sets;
  for (const std::uint64_t step : {2u, 4u, 6u, 8u, 10u}) sets.add(key(1), times(step), 2);
  sets.add(key(2), times(10), 2);
  CHECK(sets.last()->step == 10);
  sets.add(key(2), times(8), 2);
  sets.add(key(1), times(8), 2);
  CHECK(sets.last()->step == 10);
  // Steps that were begun anew under another plan are other steps.
  sets.add(key(1), times(9, 1, 2), 2);
  sets.add(key(2), times(9, 1, 1), 2);
  CHECK(sets.last()->step == 10);
  sets.add(key(2), times(9, 1, 2), 2);
  CHECK(sets.last()->epoch == 2);
}

TEST_CASE("StepWatch: the median of a plan's steps, without its first") {
  StepWatch watch;
  CHECK_FALSE(watch.median_us());
  watch.add({1, 9'000, 100});
  CHECK_FALSE(watch.median_us());
  for (const std::int64_t us : {100, 90, 5'000, 110, 95}) watch.add({1, us, 100});
  CHECK(*watch.median_us() == 100);
  watch.add({2, 700, 100});
  CHECK_FALSE(watch.median_us());
}

TEST_CASE("StepWatch: drift is five steps running, all of them too long or all too short") {
  StepWatch watch;
  watch.add({1, 1'000, 1'000});
  for (int i = 0; i < 4; ++i) watch.add({1, 1'300, 1'000});
  CHECK_FALSE(watch.has_drifted());
  SECTION("a fifth") {
    watch.add({1, 1'251, 1'000});
    CHECK(watch.has_drifted());
    CHECK(watch.drifts_now());
    watch.add({1, 1'300, 1'000});
    CHECK(watch.has_drifted());
    CHECK_FALSE(watch.drifts_now());  // that was said
    watch.add({1, 1'000, 1'000});
    CHECK_FALSE(watch.has_drifted());
    for (int i = 0; i < 5; ++i) watch.add({1, 1'300, 1'000});
    CHECK(watch.has_drifted());
    CHECK_FALSE(watch.drifts_now());
    watch.add({2, 1'300, 1'000});  // another plan: all begins anew
    CHECK_FALSE(watch.has_drifted());
    for (int i = 0; i < 5; ++i) watch.add({2, 700, 1'000});
    CHECK(watch.drifts_now());
  }
  SECTION("one as predicted") {
    watch.add({1, 1'250, 1'000});
    watch.add({1, 1'300, 1'000});
    CHECK_FALSE(watch.has_drifted());
  }
  SECTION("one too short") {
    watch.add({1, 700, 1'000});
    CHECK_FALSE(watch.has_drifted());
  }
  SECTION("nothing was predicted") {
    watch.add({1, 1'300, 0});
    CHECK_FALSE(watch.has_drifted());
  }
}

TEST_CASE("StepWatch: times are wanted of steps two seconds apart, in a power of two") {
  const auto every = [](std::int64_t step_us) {
    StepWatch watch;
    for (int i = 0; i < 3; ++i) watch.add({1, step_us, 0});
    return watch.times_every();
  };
  CHECK(StepWatch().times_every() == 0);
  CHECK(every(60'000'000) == 1);
  CHECK(every(2'000'000) == 1);
  CHECK(every(1'999'999) == 2);
  CHECK(every(100'000) == 32);
  CHECK(every(90'000) == 32);
  CHECK(every(1'000) == 2048);
}

#include "scheduler/failure_spec.h"

#include <catch2/catch.hpp>

#include "scheduler/twin_stages.h"

using namespace sidestep::scheduler;
using Stages = std::vector<std::uint32_t>;

TEST_CASE("Failures: those listed strike at their step, each once") {
  FailureSpec failures;
  CHECK_FALSE(failures.any());
  failures.list = {{7, {3, 1}}, {9, {2}}, {7, {1, 0}}};
  CHECK(failures.any());
  CHECK(failures.stages_lost_at(6, 4).empty());
  CHECK(failures.stages_lost_at(7, 4) == Stages{0, 1, 3});
  CHECK(failures.stages_lost_at(9, 4) == Stages{2});
}

TEST_CASE("Failures: what is drawn follows from seed, step and stage alone") {
  FailureSpec failures;
  failures.probability = 0.1;
  failures.seed = 7;
  FailureSpec with_list = failures;
  with_list.list = {{5, {2}}};
  FailureSpec other = failures;
  other.seed = 8;
  std::size_t drawn = 0, moved = 0;
  std::vector<std::size_t> by_stage(6, 0);
  constexpr std::uint64_t steps = 10'000;
  for (std::uint64_t step = 1; step <= steps; ++step) {
    const Stages lost = failures.stages_lost_at(step, 6);
    CHECK(lost == failures.stages_lost_at(step, 6));
    if (step != 5) CHECK(lost == with_list.stages_lost_at(step, 6));
    // More stages change nothing for those that are there.
    Stages of_more = failures.stages_lost_at(step, 9);
    std::erase_if(of_more, [](std::uint32_t stage) { return stage >= 6; });
    CHECK(lost == of_more);
    drawn += lost.size();
    if (lost != other.stages_lost_at(step, 6)) ++moved;
    for (const std::uint32_t stage : lost) ++by_stage[stage];
  }
  CHECK(by_stage[0] == 0);
  // 50,000 draws of 0.1 have a standard deviation of 67, 10,000 of one stage 30: within five of them.
  CHECK(std::abs(static_cast<double>(drawn) - 5'000) < 335);
  for (std::size_t stage = 1; stage < 6; ++stage)
    CHECK(std::abs(static_cast<double>(by_stage[stage]) - 1'000) < 150);
  CHECK(moved > steps / 2);
}

TEST_CASE("Failures: stage 0 is drawn only where the job says so") {
  FailureSpec failures;
  failures.probability = 1;
  CHECK(failures.stages_lost_at(1, 3) == Stages{1, 2});
  failures.stage_0 = true;
  CHECK(failures.stages_lost_at(1, 3) == Stages{0, 1, 2});
}

TEST_CASE("Twin stages: odd microbatches reverse the pairs that lie wholly on their route") {
  CHECK(twin_of(1, 6) == 2);
  CHECK(twin_of(2, 6) == 1);
  CHECK(twin_of(4, 6) == 5);
  CHECK(twin_of(5, 6) == 4);
  CHECK_FALSE(twin_of(0, 6));
  CHECK_FALSE(twin_of(3, 6));
  CHECK(in_twin_order({0, 1, 2, 3, 4, 5}, 0, 6) == Stages{0, 1, 2, 3, 4, 5});
  CHECK(in_twin_order({0, 1, 2, 3, 4, 5}, 1, 6) == Stages{0, 2, 1, 3, 5, 4});
  CHECK(in_twin_order({0, 1, 2, 3, 4}, 3, 5) == Stages{0, 2, 1, 4, 3});
  CHECK(in_twin_order({0, 1, 3, 4, 5}, 1, 6) == Stages{0, 1, 3, 5, 4});
  CHECK(in_twin_order({0, 1, 2, 4}, 1, 6) == Stages{0, 2, 1, 4});
}

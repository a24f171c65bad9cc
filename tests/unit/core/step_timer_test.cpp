#include "daemon/core/step_timer.h"

#include <catch2/catch.hpp>

using namespace sidestep;
using daemon::StepTimer;
using net::StepTaskKind;

namespace {

net::StepTask task(std::int64_t ready_us, std::int64_t begin_us, std::int64_t end_us) {
  return {StepTaskKind::backward, false, 3, 1, 2, ready_us, begin_us, end_us};
}

}  // namespace

TEST_CASE("StepTimer: times count from the beginning of the step") {
  StepTimer timer;
  timer.begin(1'000);
  timer.task_ended(task(1'200, 1'500, 1'900));
  timer.task_ended(task(900, 1'900, 2'000));  // it came before this node had begun
  timer.average_begun(2'000, 5, 64);
  timer.average_begun(2'100, 1, 0);
  timer.average_ended(2'400, 1);
  timer.average_ended(2'500, 5);
  timer.average_ended(2'600, 7);  // never begun
  const auto times = timer.commit(3'000);
  REQUIRE(times);
  CHECK(times->tasks == std::vector{task(200, 500, 900), task(0, 900, 1'000)});
  CHECK(times->averages == std::vector<net::StepAverage>{{1, 1'100, 1'400, 0}, {5, 1'000, 1'500, 64}});
  CHECK(times->commit_us == 2'000);
}

TEST_CASE("StepTimer: a step that was given up, or has no end, tells nothing") {
  StepTimer timer;
  CHECK_FALSE(timer.commit(5));
  timer.begin(0);
  timer.task_ended(task(1, 2, 3));
  timer.abandon();
  timer.task_ended(task(4, 5, 6));
  CHECK_FALSE(timer.commit(10));

  timer.begin(20);
  timer.average_begun(21, 1, 8);
  const auto times = timer.commit(30);
  REQUIRE(times);
  CHECK(times->tasks.empty());
  CHECK(times->averages.empty());
  CHECK_FALSE(timer.commit(31));
}

TEST_CASE("StepTimer: a step of too many tasks tells nothing, and the next one does") {
  StepTimer timer;
  timer.begin(0);
  for (std::size_t i = 0; i <= net::step_tasks_max; ++i) timer.task_ended(task(0, 1, 2));
  CHECK_FALSE(timer.commit(3));
  timer.begin(10);
  for (std::size_t i = 0; i < net::step_tasks_max; ++i) timer.task_ended(task(10, 11, 12));
  const auto times = timer.commit(13);
  REQUIRE(times);
  CHECK(times->tasks.size() == net::step_tasks_max);
}

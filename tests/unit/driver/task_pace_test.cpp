#include "daemon/driver/task_pace.h"

#include <catch2/catch.hpp>

using namespace sidestep;
using namespace sidestep::driver;

namespace {

// Starts the task, computes for that long, and gives how long it seems to take.
std::int64_t seems(TaskPace& pace, std::int64_t start_us, const daemon::Task& task, std::int64_t compute_us) {
  pace.on_start(start_us, task);
  daemon::Completion done;
  done.duration_us = compute_us;
  return pace.on_completion(start_us + compute_us, done) - start_us;
}

const TaskTimes slow{.forward_us = 400, .backward_us = 600, .head_us = 100};

}  // namespace

TEST_CASE("Task pace: without times a task ends when it ends") {
  TaskPace pace({});
  CHECK(seems(pace, 1'000, daemon::Forward{}, 50) == 50);
  CHECK(seems(pace, 1'050, daemon::Backward{}, 0) == 0);
}

TEST_CASE("Task pace: each kind takes at least its time, and no less than it takes") {
  TaskPace pace(slow);
  CHECK(seems(pace, 0, daemon::Forward{}, 50) == 400);
  CHECK(seems(pace, 10'000, daemon::Head{}, 50) == 100);
  CHECK(seems(pace, 20'000, daemon::Backward{}, 50) == 600);
  CHECK(seems(pace, 30'000, daemon::Backward{}, 601) == 601);
  // Averaging and updates belong to no microbatch.
  CHECK(seems(pace, 40'000, daemon::Update{}, 50) == 50);
}

TEST_CASE("Task pace: the gap after a task delays the next one, and only that") {
  TaskTimes times = slow;
  times.gap_us = 30;
  TaskPace pace(times);
  CHECK(seems(pace, 0, daemon::Forward{}, 50) == 400);
  CHECK(seems(pace, 400, daemon::Forward{}, 50) == 430);    // until 830, and 30 more
  CHECK(seems(pace, 840, daemon::Backward{}, 700) == 720);  // begins at 860
  CHECK(seems(pace, 1'560, daemon::MeasureAverage{}, 5) == 5);
  CHECK(seems(pace, 10'000, daemon::Head{}, 50) == 100);
}

TEST_CASE("Task pace: a task tells the time of the emulated node") {
  TaskPace pace(slow);
  pace.on_start(0, daemon::Forward{});
  daemon::Completion done;
  done.duration_us = 50;
  CHECK(pace.on_completion(50, done) == 400);
  CHECK(done.duration_us == 400);
}

TEST_CASE("Task pace: a probe tells the scheduler the times of the emulated node") {
  daemon::ProbeJob probe;
  probe.spec.model.num_hidden_layers = 12;
  probe.spec.pipeline.stages = 4;
  const auto probed = [&](const TaskTimes& times) {
    TaskPace pace(times);
    pace.on_start(0, probe);
    daemon::Completion done;
    done.layer_us = 90;
    done.head_us = 80;
    CHECK(pace.on_completion(5, done) == 5);
    return std::pair(done.layer_us, done.head_us);
  };
  CHECK(probed({}) == std::pair<std::int64_t, std::int64_t>(90, 80));
  CHECK(probed(slow) == std::pair<std::int64_t, std::int64_t>(334, 100));  // 1,000 over three layers
}

// Makes this node's tasks take at least as long as those of the one that it emulates: what is computed
// faster is completed late. Pure: time comes in. One task at a time, as the core starts them.
#pragma once

#include <cstdint>

#include "daemon/core/tasks.h"

namespace sidestep::driver {

// Of one microbatch; 0: as long as it takes.
struct TaskTimes {
  std::int64_t forward_us = 0;
  std::int64_t backward_us = 0;
  std::int64_t head_us = 0;
  std::int64_t gap_us = 0;  // after each of the three the node is busy this much longer
};

class TaskPace {
 public:
  explicit TaskPace(const TaskTimes& least) : least_(least) {}

  void on_start(std::int64_t now_us, const daemon::Task& task);
  // Of the task started last: when its completion shall be heard, now or later. The times that it tells
  // become those of the emulated node, which is also what a probe then tells the scheduler.
  std::int64_t on_completion(std::int64_t now_us, daemon::Completion& completion);

 private:
  void slow_probe(daemon::Completion& completion) const;

  TaskTimes least_;
  // Of the task that runs.
  std::int64_t began_us_ = 0;
  std::int64_t start_us_ = 0;  // on the emulated node, after the gap of the task before
  std::int64_t least_us_ = 0;
  bool has_gap_ = false;
  std::int64_t busy_until_us_ = 0;      // with the task before and its gap
  std::int64_t layers_of_a_stage_ = 0;  // while a probe runs
};

}  // namespace sidestep::driver

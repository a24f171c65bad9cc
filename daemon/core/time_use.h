// Where an executor's time went during a job. Values.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "daemon/core/tasks.h"

namespace sidestep::daemon {

class TimeUse {
 public:
  // The executor was idle for `waited_us` until this task came, then ran it for `ran_us`. Waiting for the
  // first task of a job is not counted.
  void add(const Task& task, std::int64_t waited_us, std::int64_t ran_us);

  // "computed 83.1 s (forward 28.0, head 2.1, backward 51.0, averaging 0.3, update 1.7), waited 12.3 s (for
  // microbatches 10.0, averages 1.3, commits 1.0)"; empty when nothing ran.
  std::string text() const;

 private:
  enum Kind { forward, head, backward, averaging, update, kinds };

  bool begun_ = false;
  std::array<std::int64_t, kinds> ran_us_{};
  std::array<std::int64_t, kinds> waited_us_{};  // by what ended the wait
};

}  // namespace sidestep::daemon

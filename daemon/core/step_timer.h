// When the tasks of the step under way were ready, began and ended at this node, and its averaging. Pure;
// part of JobContext. A task costs one small push.
#pragma once

#include <cstdint>
#include <optional>

#include "net/messages.h"

namespace sidestep::daemon {

class StepTimer {
 public:
  // Times count from now on; what was noted of another step is forgotten.
  void begin(std::int64_t now_us);
  // The step is given up; nothing is noted until the next one begins.
  void abandon() { begun_us_.reset(); }

  // The task's times as the node's clock says them.
  void task_ended(net::StepTask task);
  // `bytes`: that this replica sends for the average.
  void average_begun(std::int64_t now_us, std::uint32_t stage, std::uint64_t bytes);
  // Without effect if it was not begun.
  void average_ended(std::int64_t now_us, std::uint32_t stage);

  // Everything of the step, which ends now by its Commit; nothing if it was given up or had too many tasks.
  std::optional<net::StepTimes> commit(std::int64_t now_us);

 private:
  std::optional<std::int64_t> begun_us_;
  bool too_many_ = false;
  net::StepTimes times_;
};

}  // namespace sidestep::daemon

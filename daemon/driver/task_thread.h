// Where the node driver sends the tasks of its core. The one real kind is the executor's thread; the
// program's wiring makes it, so that the driver does not know of LibTorch.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "daemon/core/tasks.h"
#include "net/status.h"

namespace sidestep::driver {

class TaskThread {
 public:
  // Ends after the task that is running; completions stop.
  virtual ~TaskThread() = default;
  // Returns at once; the completion comes later, on the task's own thread.
  virtual void start(daemon::TaskId id, daemon::Task task) = 0;
  // What it has, for the scheduler: memory that jobs may use, and which nodes compute the same bits.
  virtual std::uint64_t memory_bytes() const = 0;
  virtual std::string device_class() const = 0;
};

struct TaskThreadOptions {
  int threads = 1;
  std::string device = "cpu";
  std::uint64_t memory_bytes = 0;  // 0: what the device has
  std::string snapshot_folder;
  std::int64_t snapshots_kept = 4;  // jobs
};

using TaskThreadResult = Result<std::unique_ptr<TaskThread>>;
// Errors: the device cannot be used, and why.
using TaskThreadFactory = std::function<TaskThreadResult(
    const TaskThreadOptions& options, std::function<void(daemon::Completion)> on_completion)>;

}  // namespace sidestep::driver

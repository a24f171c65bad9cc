// Who does the work of tasks. TorchRunner (daemon/executor) computes; the simulator's fake computes on
// integers. Executor gives a runner its own thread; solo and the simulator call it directly.
#pragma once

#include <functional>
#include <memory>

#include "daemon/core/tasks.h"

namespace sidestep::daemon {

class TaskRunner {
 public:
  virtual ~TaskRunner() = default;
  // Runs the task to its end. What goes wrong is Completion::fault, never an exception. Tensors in the
  // completion own or share their memory. Called by one thread at a time.
  virtual Completion run(TaskId id, const Task& task) = 0;
};

using TaskRunnerFactory = std::function<std::unique_ptr<TaskRunner>()>;

}  // namespace sidestep::daemon

// A task runner on a thread of its own.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "daemon/core/task_runner.h"

namespace sidestep::daemon {

// Owner: the driver. The runner is made, used and destroyed on the executor's thread, one task at a time, in
// the order of submission. Destruction waits for the running task and drops those that wait.
class Executor {
 public:
  // `on_completion` is called on the executor's thread with each completion; it must not throw and must
  // outlive the executor.
  Executor(TaskRunnerFactory factory, std::function<void(Completion)> on_completion);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // From any thread.
  void start(TaskId id, Task task);

 private:
  void work(const TaskRunnerFactory& factory);

  std::function<void(Completion)> on_completion_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::pair<TaskId, Task>> waiting_;
  bool stopping_ = false;
  std::thread thread_;  // last: it starts when the rest is there
};

}  // namespace sidestep::daemon

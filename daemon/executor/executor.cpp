#include "daemon/executor/executor.h"

#include <csignal>

namespace sidestep::daemon {

Executor::Executor(TaskRunnerFactory factory, std::function<void(Completion)> on_completion)
    : on_completion_(std::move(on_completion)), thread_([this, make = std::move(factory)] { work(make); }) {}

Executor::~Executor() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    waiting_.clear();
  }
  wake_.notify_one();
  thread_.join();
}

void Executor::start(TaskId id, Task task) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.emplace_back(id, std::move(task));
  }
  wake_.notify_one();
}

void Executor::work(const TaskRunnerFactory& factory) {
  // A signal handler must not run here, nor on the threads that this one starts: oneDNN's kernels keep the
  // stack pointer in their own workspace.
  sigset_t signals;
  sigfillset(&signals);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const std::unique_ptr<TaskRunner> runner = factory();
  while (true) {
    std::pair<TaskId, Task> next;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (stopping_) return;
      next = std::move(waiting_.front());
      waiting_.pop_front();
    }
    Completion done = runner->run(next.first, next.second);
    next.second = DropJob();  // frees the task's tensors before the driver hears of it
    on_completion_(std::move(done));
  }
}

}  // namespace sidestep::daemon

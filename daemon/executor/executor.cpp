#include "daemon/executor/executor.h"

#include <csignal>

#include "daemon/core/time_use.h"
#include "net/clock.h"

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
  pthread_setname_np(pthread_self(), "compute");  // as `top -H` shows it; threads started here inherit it
  const std::unique_ptr<TaskRunner> runner = factory();
  TimeUse time_use;
  std::int64_t idle_since_us = net::monotonic_us();
  while (true) {
    std::pair<TaskId, Task> next;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (stopping_) return;
      next = std::move(waiting_.front());
      waiting_.pop_front();
    }
    const std::int64_t begin_us = net::monotonic_us();
    Completion done = runner->run(next.first, next.second);
    const std::int64_t waited_us = begin_us - std::exchange(idle_since_us, net::monotonic_us());
    time_use.add(next.second, waited_us, idle_since_us - begin_us);
    if (std::holds_alternative<DropJob>(next.second)) done.time_use = std::exchange(time_use, {}).text();
    next.second = DropJob();  // frees the task's tensors before the driver hears of it
    on_completion_(std::move(done));
  }
}

}  // namespace sidestep::daemon

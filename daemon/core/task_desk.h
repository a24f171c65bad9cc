// One task at a time: hands tasks to the executor in order and their completions to whoever asked.
// Tasks queued here (set-up, averaging, updates) go before the pipeline's, which are picked only when
// the desk is free. Pure; owned by NodeCore.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <utility>

#include "daemon/core/node_core.h"

namespace sidestep::daemon {

class TaskDesk {
 public:
  using Done = std::function<void(std::int64_t now_us, const Completion&)>;

  // Starts at once when free, else in turn.
  void queue(Task task, Done done, NodeOutbox& out);
  // Precondition: free().
  void start(Task task, Done done, NodeOutbox& out);
  bool free() const { return !running_ && waiting_.empty(); }

  // Gives the completion to its owner, then starts the next queued task. A completion that nobody
  // waits for (its job was dropped) only frees the desk.
  void on_completion(std::int64_t now_us, const Completion& completion, NodeOutbox& out);

  // Forgets what is queued and who waits for the running task, which still has to complete.
  void abandon();
  // The same, of what belongs to a step; whatever brings stages here, takes them away, copies or keeps them
  // goes on.
  void abandon_step();

 private:
  TaskId next_id_ = 1;
  std::optional<TaskId> running_;
  bool running_of_step_ = false;
  Done done_;  // of the running task; empty when abandoned
  std::deque<std::pair<Task, Done>> waiting_;
};

}  // namespace sidestep::daemon

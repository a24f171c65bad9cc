#include "daemon/core/task_desk.h"

namespace sidestep::daemon {
namespace {

bool is_of_step(const Task& task) {
  return !std::holds_alternative<SaveCheckpoint>(task) && !std::holds_alternative<PollCheckpoints>(task) &&
         !std::holds_alternative<SealCheckpoint>(task) && !std::holds_alternative<AddStage>(task) &&
         !std::holds_alternative<DropStage>(task) && !std::holds_alternative<CopyState>(task) &&
         !std::holds_alternative<StoreState>(task) && !std::holds_alternative<FinishState>(task) &&
         !std::holds_alternative<CatchUp>(task);
}

}  // namespace

void TaskDesk::queue(Task task, Done done, NodeOutbox& out) {
  if (free())
    start(std::move(task), std::move(done), out);
  else
    waiting_.emplace_back(std::move(task), std::move(done));
}

void TaskDesk::start(Task task, Done done, NodeOutbox& out) {
  SIDESTEP_ASSERT(free());
  running_ = next_id_++;
  done_ = std::move(done);
  running_of_step_ = is_of_step(task);
  out.push_back(StartTask{*running_, std::move(task)});
}

void TaskDesk::on_completion(std::int64_t now_us, const Completion& completion, NodeOutbox& out) {
  SIDESTEP_ASSERT(running_ && *running_ == completion.id);
  running_.reset();
  // The owner may queue more; what waits goes first, so take it over before.
  const Done done = std::exchange(done_, {});
  if (!waiting_.empty()) {
    auto [task, next_done] = std::move(waiting_.front());
    waiting_.pop_front();
    running_ = next_id_++;
    done_ = std::move(next_done);
    running_of_step_ = is_of_step(task);
    out.push_back(StartTask{*running_, std::move(task)});
  }
  if (done) done(now_us, completion);
}

void TaskDesk::abandon() {
  waiting_.clear();
  done_ = {};
}

void TaskDesk::abandon_step() {
  std::erase_if(waiting_, [](const auto& waiting) { return is_of_step(waiting.first); });
  if (running_of_step_) done_ = {};
}

}  // namespace sidestep::daemon

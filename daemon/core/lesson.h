// A stage that this node is to hold and does not yet: learned from its replicas, or rebuilt out of others
// where there is no replica left. Nobody waits for it. Pure; owned by JobRun.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "daemon/core/job_context.h"
#include "scheduler/record.h"

namespace sidestep::daemon {

// The plan by which a stage is learned, and the commit whose state is pulled, where it is known before the
// first offer.
struct LessonBegin {
  std::uint64_t epoch = 0;
  std::optional<std::uint64_t> base;
};

class Lesson {
 public:
  struct Ports {
    // Asks a replica for a slice, unacknowledged.
    std::function<void(const net::NodeKey& to, const net::SliceRequest& request)> ask;
    // The stage cannot be had. Does not end this lesson.
    std::function<void(std::int64_t now_us, const std::string& why)> fail;
  };

  virtual ~Lesson() = default;
  Lesson(const Lesson&) = delete;
  Lesson& operator=(const Lesson&) = delete;

  // What does not fit is logged and dropped, repeats are dropped.
  virtual void on_offer(std::int64_t now_us, const net::NodeKey& peer, const net::StateOffer& offer) = 0;
  virtual void on_slice(std::int64_t now_us, const net::NodeKey& peer, const net::Slice& slice) = 0;
  // Of the step under way or an earlier one, by the plan that it was made under.
  virtual void on_chunk(std::int64_t now_us, const net::NodeKey& peer, const net::AverageChunk& chunk) = 0;
  // The context's step is committed, under the context's plan.
  virtual void on_commit(std::int64_t now_us, bool skip_update) = 0;
  // The context's plan is about to be another one, under which the lesson goes on.
  virtual void on_change() {}
  // Work goes on at this step under that plan: what was said of it under the one before means nothing.
  virtual void on_resume(std::int64_t /*now_us*/, std::uint64_t /*step*/) {}
  virtual void on_tick(std::int64_t now_us) = 0;

  // The commit whose state is taken: known from the first good offer on.
  virtual std::optional<std::uint64_t> base() const = 0;
  // Is as far as the last commit that this node heard of.
  virtual bool level() const = 0;
  // What was put together, of a stage that was rebuilt. Precondition: level().
  virtual std::optional<scheduler::RecordRecovery> recovery() const { return std::nullopt; }
  virtual std::string describe() const = 0;

 protected:
  Lesson(JobContext& context, std::uint32_t stage, Ports ports)
      : context_(context), stage_(stage), ports_(std::move(ports)) {}

  // `then` is called unless this lesson has ended, or the task has failed: that fails it.
  template <class Then>
  void queue(Task task, Then then) {
    context_.queue_task(std::move(task), [this, alive = std::weak_ptr<int>(alive_), then](
                                             std::int64_t now, const Completion& done) {
      if (alive.expired()) return;
      if (!done.fault.empty()) return ports_.fail(now, done.fault);
      then(now, done);
    });
  }

  JobContext& context_;
  std::uint32_t stage_;
  Ports ports_;

 private:
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);  // tasks may end later than this lesson
};

}  // namespace sidestep::daemon

// One job at one node, from StartJob to EndJob: its stages, the step it is in, and the parts that do the
// step. Pure; owned by NodeCore.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>

#include "daemon/core/averager.h"
#include "daemon/core/handover.h"
#include "daemon/core/job_context.h"
#include "daemon/core/ledger.h"
#include "daemon/core/pipeline.h"
#include "daemon/core/time_reporter.h"

namespace sidestep::daemon {

class JobRun {
 public:
  // How a job reaches the rest of its node. `out` of the current event is reached through these.
  struct Ports {
    std::function<void(std::int64_t now_us, const net::NodeKey& to, net::Message)> post_data;
    std::function<void(std::int64_t now_us, net::Message)> post_scheduler;
    // Forgets data messages that nobody needs any more.
    std::function<void(const std::function<bool(const net::Message&)>&)> drop_posted;
    std::function<void(Task, TaskDesk::Done)> queue_task;
    std::function<bool()> desk_free;
    // Nobody waits any more for tasks that were queued.
    std::function<void()> abandon_tasks;
    std::function<void(std::int64_t now_us, net::LogLevel, std::optional<std::uint32_t> stage,
                       std::string text)>
        log;
    TimeReporter::Ports times;
  };

  // Precondition: the plan gives this node a stage. `stored`: the last step whose record the scheduler has.
  JobRun(std::int64_t now_us, const NodeOptions& options, std::string job, scheduler::JobSpec spec,
         scheduler::Plan plan, net::View view, std::optional<std::uint64_t> stored, Ports ports);
  JobRun(const JobRun&) = delete;
  JobRun& operator=(const JobRun&) = delete;

  const std::string& job() const { return context_.job; }
  std::uint64_t epoch() const { return change_ ? change_->plan.epoch : context_.plan.epoch; }
  bool leads() const { return context_.leads(); }
  // The next commit of this lead origin, or as soon as it is one, takes a snapshot; that of commit `keep`
  // stays until a later one is known to be whole (0: none is).
  void ask_for_snapshot(std::uint64_t keep);
  // Another plan takes the place of this one, as soon as the Commit under way is applied. This node keeps its
  // stages. Precondition: its epoch is higher.
  void change_plan(std::int64_t now_us, scheduler::Plan plan, net::View view,
                   std::optional<std::uint64_t> stored);
  // The scheduler has the record up to this step.
  void on_stored(std::uint64_t step) { handover_.forget_stored(step); }
  void want_times_every(std::uint64_t steps) { times_.want_times_every(steps); }
  // Takes a data message of this job; false: not now, do not acknowledge it.
  bool on_data(std::int64_t now_us, const net::NodeKey& peer, const net::Message& message);
  // Does what has become possible: local messages, averages, commit, the next task. After every event.
  void pump(std::int64_t now_us);

  net::JobProgress progress() const;
  bool takes_part(const net::NodeKey& node) const { return context_.plan.stages_of.count(node) != 0; }
  void check_invariants() const;

 private:
  // waiting: the plan has changed, and where to go on is not known yet.
  enum class Phase { initialising, running, updating, saving, waiting, finished, failed };

  struct Change {
    scheduler::Plan plan;
    net::View view;
    std::optional<std::uint64_t> stored;
  };

  void take_change(std::int64_t now_us);
  // Keeps a message for later; false: there are too many, do not acknowledge it.
  bool hold(const net::NodeKey& peer, const net::Message& message);
  void take_held(std::int64_t now_us);
  void report_ready(std::int64_t now_us);
  void begin_step(std::int64_t now_us);
  void on_resume(std::int64_t now_us, const net::NodeKey& peer, const net::Resume& resume);
  void apply(std::int64_t now_us, const net::Commit& commit);
  void on_kept(std::int64_t now_us, const net::NodeKey& peer);
  void send_commit(std::int64_t now_us);

  void on_initialised(std::int64_t now_us, const Completion& completion);
  void dispatch(std::int64_t now_us, const net::NodeKey& peer, const net::Message& message);
  void begin_averages(std::int64_t now_us);
  void commit_if_ready(std::int64_t now_us);
  void on_commit(std::int64_t now_us, const net::NodeKey& peer, const net::Commit& commit);
  // Saves the stages from this one on, then goes on; `next` counts in my_stages.
  void save_snapshots(std::int64_t now_us, std::size_t next, const net::Commit& commit);
  void finish_step(std::int64_t now_us, bool last);
  // Why the job cannot go on after this step; empty: it can. Counts steps without an update.
  std::string end_of_job(const Ledger::Page& page);
  std::string skip_losses(const scheduler::RecordStep& record) const;
  void log_progress(std::int64_t now_us, const scheduler::RecordStep& record, bool last);
  void fail(std::int64_t now_us, const std::string& reason);

  JobContext context_;
  Ports ports_;
  Phase phase_ = Phase::initialising;
  std::optional<Change> change_;      // that waits for the Commit under way
  bool changed_ = false;              // since the step began: it begins anew
  std::uint64_t applied_ = 0;         // last commit applied
  std::uint64_t resident_bytes_ = 0;  // of the process, after the last update
  Pipeline pipeline_;
  std::map<std::uint32_t, Averager> averagers_;      // by stage held
  std::map<std::uint32_t, std::uint64_t> elements_;  // of each stage's gradient
  Ledger ledger_;                                    // used by the lead origin alone
  TimeReporter times_;
  Handover handover_;
  std::deque<net::Message> local_;                            // from this node to itself
  std::vector<std::pair<net::NodeKey, net::Message>> early_;  // of the step after this one, or a later plan

  std::uint64_t skipped_in_a_row_ = 0;  // steps without an update

  // Used by the lead origin alone.
  std::optional<net::Commit> withheld_;  // until all other origins keep it
  std::set<net::NodeKey> kept_by_;
  bool snapshot_asked_ = false;
  std::uint64_t snapshot_kept_ = 0;  // commit of the newest snapshot known to be whole

  // For the progress line.
  std::int64_t progress_logged_us_ = 0;
  std::uint64_t tokens_since_ = 0;
  std::int64_t time_since_us_ = 0;
};

}  // namespace sidestep::daemon

// One job at one node, from StartJob to EndJob: its stages, those that it learns, the step it is in, and the
// parts that do the step. job_run.cpp: events; job_commit.cpp: the end of a step; job_checkpoint.cpp;
// job_mirror.cpp; job_change.cpp: another plan takes the place of the one before. Pure; owned by NodeCore.
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
#include "daemon/core/lesson.h"
#include "daemon/core/mirror_keeper.h"
#include "daemon/core/pipeline.h"
#include "daemon/core/progress_line.h"
#include "daemon/core/time_reporter.h"

namespace sidestep::daemon {

// A plan as the scheduler sends it.
struct PlanOrder {
  scheduler::Plan plan;
  net::View view;
  std::optional<std::uint64_t> stored = {};  // the scheduler has the records up to this step
  bool at_commit = false;                    // StartJob::at_commit
};

class JobRun {
 public:
  // How a job reaches the rest of its node. `out` of the current event is reached through these.
  struct Ports {
    std::function<void(std::int64_t now_us, const net::NodeKey& to, net::Message)> post_data;
    // Unacknowledged.
    std::function<void(const net::NodeKey& to, net::Message)> send_data;
    std::function<void(std::int64_t now_us, net::Message)> post_scheduler;
    // Forgets data messages that nobody needs any more.
    std::function<void(const std::function<bool(const net::NodeKey& to, const net::Message&)>&)> drop_posted;
    // Some of what was posted is not acknowledged.
    std::function<bool()> has_posted;
    std::function<void(Task, TaskDesk::Done)> queue_task;
    std::function<bool()> desk_free;
    // Nobody waits any more for tasks of the step that were queued.
    std::function<void()> abandon_step;
    std::function<void(std::int64_t now_us, net::LogLevel, std::optional<std::uint32_t> stage,
                       std::string text)>
        log;
    TimeReporter::Ports times;
  };

  // Precondition: the plan gives this node a stage, or one to learn.
  JobRun(std::int64_t now_us, const NodeOptions& options, std::string job, scheduler::JobSpec spec,
         PlanOrder order, Ports ports);
  JobRun(const JobRun&) = delete;
  JobRun& operator=(const JobRun&) = delete;

  const std::string& job() const { return context_.job; }
  bool leads() const { return context_.leads(); }
  // The next commit of this lead origin, or as soon as it is one, takes a snapshot; that of commit `keep`
  // stays until a later one is known to be whole (0: none is).
  void ask_for_snapshot(std::uint64_t keep);
  // Another plan of the job; one that is not newer than those known means nothing.
  void on_order(std::int64_t now_us, PlanOrder order);
  // At the lead origin: everybody has the plan of that number, the next Commit names it.
  void adopt_at_next_commit(std::uint64_t epoch);
  // The scheduler has the record up to this step.
  void on_stored(std::uint64_t step);
  // All stages of a checkpoint are written.
  void seal_checkpoint(const net::SealCheckpoint& order);
  // To another run of the scheduler, which does not know it.
  void tell_measured() {
    if (!context_.my_stages.empty()) times_.tell_measured();
  }
  void want_times_every(std::uint64_t steps) { times_.want_times_every(steps); }
  // Takes a data message of this job; false: not now, do not acknowledge it.
  bool on_data(std::int64_t now_us, const net::NodeKey& peer, const net::Message& message);
  void on_slice(std::int64_t now_us, const net::NodeKey& peer, const net::Slice& slice);
  void on_tick(std::int64_t now_us);
  // Does what has become possible: local messages, averages, commit, the next task. After every event.
  void pump(std::int64_t now_us);
  // That part of a state that learners pull here, if this is one.
  std::optional<net::Tensor> read_state(const net::SliceRequest& request) const;

  net::JobProgress progress() const;
  // What this run has told the scheduler and still holds.
  std::vector<net::JobFault> faults() const;
  bool takes_part(const net::NodeKey& node) const { return context_.plan.stages_of.count(node) != 0; }
  void check_invariants() const;

 private:
  // learning: no stage is held here, Commits are followed. waiting: the plan has changed, and where to go on
  // is not known yet. catching_up: the plan gives this node a stage that it has not learned to the end.
  enum class Phase {
    initialising,
    learning,
    running,
    updating,
    saving,
    waiting,
    catching_up,
    finished,
    failed
  };

  // A stage as it was after a commit, for these to pull.
  using SharedName = std::tuple<std::uint32_t, std::uint64_t, bool>;  // stage, commit, its layers alone
  struct Pupil {
    net::NodeKey node;
    std::uint32_t lesson = 0;  // the stage that it learns, rebuilds or keeps the mirror of
    bool mirror = false;
  };
  struct SharedState {
    std::vector<Pupil> pupils;
    std::vector<net::Tensor> parts;
  };

  // ---- job_run.cpp
  void on_initialised(std::int64_t now_us, const Completion& completion);
  void make_averagers();
  void log_stage(std::int64_t now_us, std::uint32_t stage) const;
  void report_ready(std::int64_t now_us);
  void begin_step(std::int64_t now_us);
  // Keeps a message for later; false: there are too many, do not acknowledge it.
  bool hold(const net::NodeKey& peer, const net::Message& message);
  void take_held(std::int64_t now_us);
  void dispatch(std::int64_t now_us, const net::NodeKey& peer, const net::Message& message);
  // What is about stages that this node learns: as on_data; nothing: the message is not.
  std::optional<bool> take_lesson(std::int64_t now_us, const net::NodeKey& peer, const net::Message& message);
  void begin_averages(std::int64_t now_us);
  std::string activity() const;
  void fail(std::int64_t now_us, const std::string& reason);

  // ---- job_commit.cpp
  void commit_if_ready(std::int64_t now_us);
  void on_kept(std::int64_t now_us, const net::NodeKey& peer);
  void send_commit(std::int64_t now_us);
  void on_commit(std::int64_t now_us, const net::NodeKey& peer, const net::Commit& commit);
  void apply(std::int64_t now_us, const net::Commit& commit);
  // Saves the stages from this one on, then goes on; `next` counts in my_stages.
  void save_snapshots(std::int64_t now_us, std::size_t next, const net::Commit& commit);
  void finish_step(std::int64_t now_us, const net::Commit& commit);
  // Why the job cannot go on after this step; empty: it can. Counts steps without an update.
  std::string end_of_job(const Ledger::Page& page);

  // ---- job_checkpoint.cpp
  // At the lead origin: whether a checkpoint is written of the step that is being committed.
  bool writes_checkpoint() const;
  // After each update: begins to write what this node writes of its stages, and asks after what it writes.
  void write_checkpoint(std::int64_t now_us, const net::CommitTerms& terms);
  void begin_checkpoint(std::int64_t now_us, std::uint32_t stage);
  void poll_checkpoints(bool wait);
  void tell_written(std::int64_t now_us, const WrittenStage& written);

  // ---- job_mirror.cpp
  // After each update: copies this node's stages for those that keep their mirrors, if it is the time.
  void share_mirrors(std::int64_t now_us, const net::CommitTerms& terms);
  // false: the message is no offer of a state whose mirror is kept here.
  bool take_mirror_offer(std::int64_t now_us, const net::NodeKey& peer, const net::Message& message);
  // The copy was for that.
  void on_mirror_kept(const net::NodeKey& peer, const net::MirrorKept& kept);
  // To those that begin to put a lost stage back whose mirror is here.
  void offer_mirrors(std::int64_t now_us);
  bool wants(const scheduler::Plan& plan, const Pupil& pupil) const;

  // ---- job_change.cpp
  std::uint64_t first_commit() const { return context_.spec.first_commit(); }
  // Beyond the last that is applied.
  std::uint64_t next_step() const {
    return applied_ == context_.step && context_.step > first_commit() ? context_.step + 1 : context_.step;
  }
  // A plan that takes effect at once, as soon as the Commit under way is applied.
  void take_change(std::int64_t now_us);
  void on_resume(std::int64_t now_us, const net::NodeKey& peer, const net::Resume& resume);
  // The plan that waits takes effect: the context's step was the last under the one before.
  void take_offered(std::int64_t now_us, std::uint64_t epoch);
  // Goes on under it as soon as every stage is here that it gives this node.
  void go_on_if_level(std::int64_t now_us);
  void drop_stages(const scheduler::Plan& before);
  // What is shared with those that the context's plan has learn no more.
  void forget_pupils();
  // Whether what this node learns under the context's plan is learned on under that one.
  bool goes_on(std::uint32_t lesson, const scheduler::Plan& plan) const;
  void share_states(std::int64_t now_us);
  std::vector<Pupil> beginners(std::uint32_t lesson) const;
  void share_state(const SharedName& name, std::vector<Pupil> pupils);
  void learn_stages();
  void learn(std::uint32_t stage, std::uint64_t elements, LessonBegin begin);
  // The stage cannot be learned; whoever holds others goes on with those.
  void fail_lesson(std::int64_t now_us, std::uint32_t stage, const std::string& why);
  // Forgets the learners of stages that were given up; not to be called by one.
  void end_lessons();

  JobContext context_;
  Ports ports_;
  Phase phase_ = Phase::initialising;
  std::string failure_;                         // why it failed
  std::optional<PlanOrder> change_;             // that waits for the Commit under way
  std::map<std::uint64_t, PlanOrder> offered_;  // by epoch: those that wait for the Commit that names them
  bool changed_ = false;                        // since the step began: it begins anew
  std::uint64_t applied_ = 0;                   // last commit applied
  std::uint64_t resident_bytes_ = 0;            // of the process, after the last update
  Pipeline pipeline_;
  std::map<std::uint32_t, Averager> averagers_;      // by stage held
  std::map<std::uint32_t, std::uint64_t> elements_;  // of the gradient, of each stage held or learned
  // By stage learned or rebuilt.
  std::map<std::uint32_t, std::unique_ptr<Lesson>> learners_;
  std::map<std::uint32_t, std::string> given_up_;  // of the plan's lessons, by a node that holds a stage
  // AddStage tasks under way, by stage, with the plan that wants it: their learners come.
  std::map<std::uint32_t, std::uint64_t> adding_;
  std::map<SharedName, SharedState> shared_;
  std::set<std::uint32_t> mirrors_late_;  // stages whose mirror is still being pulled, as was told
  MirrorKeeper mirrors_;
  scheduler::StagesByNode learned_before_;  // by the plan before the one that is taken
  Ledger ledger_;                           // used by the lead origin alone
  TimeReporter times_;
  Handover handover_;
  ProgressLine progress_line_;
  std::deque<net::Message> local_;                            // from this node to itself
  std::vector<std::pair<net::NodeKey, net::Message>> early_;  // of the step after this one, or a later plan

  std::uint64_t skipped_in_a_row_ = 0;  // steps without an update
  bool checkpoints_open_ = false;       // some of this node's stages are being written

  // Used by the lead origin alone.
  std::optional<net::Commit> withheld_;  // until all other origins keep it
  std::set<net::NodeKey> kept_by_;
  std::uint64_t adopt_epoch_ = 0;  // the next Commit names this plan
  bool snapshot_asked_ = false;
  std::uint64_t snapshot_kept_ = 0;  // commit of the newest snapshot known to be whole
};

// The scope that a data message names; none for messages that are not about a step.
const net::Scope* scope_of(const net::Message& message);
// The stage whose average or state the message is about; none for others.
std::optional<std::uint32_t> stage_of_lesson(const net::Message& message);

}  // namespace sidestep::daemon

// Does one step after another exactly as a script says, a script being the routes and the orders of adding
// of a scheduler::RecordStep. Solo writes its scripts itself, replay takes them from a run record.
// Owns one runner per node; one thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "daemon/core/task_runner.h"
#include "net/messages.h"
#include "net/status.h"
#include "scheduler/job.h"
#include "scheduler/record.h"

namespace sidestep::daemon {

class StepFollower {
 public:
  StepFollower(scheduler::JobSpec job, TaskRunnerFactory factory)
      : job_(std::move(job)), factory_(std::move(factory)) {}

  // One runner for each node, holding its stages as a fresh job does. Call once, first.
  Status begin(const std::map<net::NodeKey, std::vector<std::uint32_t>>& stages_of);

  // Everything of the step up to the averages; weights stay as they are. Gives the script with losses,
  // norms, tokens and compute time filled in; `skipped_update` if a loss or norm is not finite. Errors:
  // a script that cannot be followed (invalid), a task's fault.
  Result<scheduler::RecordStep> run(const scheduler::RecordStep& script);
  // Before a step: gives stages to nodes that hold them from it on, as they are at a node that holds them,
  // or made of what was kept for the script's recoveries, and drops the rest. Errors: a stage that nobody
  // holds.
  Status take_places(const scheduler::RecordStep& script);
  // Before `step`, the one after recovery.commit: keeps what the stage will be made of when a node takes it,
  // once for each call. What take_places() finds in recoveries of the states with which its step begins it
  // keeps itself.
  Status keep_sources(const scheduler::RecordRecovery& recovery, std::uint64_t step);
  // Before the step after `commit`: where the job's policy has all stages mirrored or saved after that
  // commit, keeps their states in place of those of an earlier one.
  Status keep_mirrors(std::uint64_t commit);
  // Of the state that is kept of the stage; nothing: none is.
  std::optional<std::uint64_t> mirror_commit(std::uint32_t stage) const;
  // Of the stage as it is. Errors: nobody holds it.
  Result<StateTraits> traits_of(std::uint32_t stage);
  // Ends the step that ran last; without `update` gradients are only cleared.
  Status commit(const scheduler::RecordStep& script, bool update);
  // Drops the job at every runner.
  Status end();

 private:
  Result<Completion> call(const net::NodeKey& node, const Task& task);
  Result<Completion> forward_and_head(std::uint64_t step, const scheduler::RecordRoute& route,
                                      bool evaluation, bool accumulate);
  Status evaluate(scheduler::RecordStep& done);
  Status train(scheduler::RecordStep& done);
  Status average(scheduler::RecordStep& done);
  Status average_stage(scheduler::RecordStage& stage);
  Status give_stage(const net::NodeKey& node, std::uint32_t stage, std::uint64_t step);
  // A state that a node will take: by part, what is stored in it.
  struct Coming {
    std::vector<std::vector<StoreState::Source>> parts;
    StateTraits traits;
    std::uint64_t commit = 0;
    FinishState::MadeOf made_of = FinishState::MadeOf::replica;
    int uses = 1;
  };
  static Coming whole_state(const Completion& copy, std::uint64_t commit);
  Status lose_stage(std::uint32_t stage);
  Result<Coming> own_state(const scheduler::RecordRecovery& recovery, std::uint64_t step);
  Result<Coming> average_of(const scheduler::RecordRecovery& recovery);
  Status store(const net::NodeKey& node, std::uint32_t stage, Coming coming);
  Result<Completion> copy_state(const net::NodeKey& node, const CopyState& task);

  scheduler::JobSpec job_;
  TaskRunnerFactory factory_;
  std::map<net::NodeKey, std::unique_ptr<TaskRunner>> runners_;
  std::map<net::NodeKey, std::vector<std::uint32_t>> stages_of_;
  std::map<std::pair<std::uint32_t, std::uint64_t>, Coming> coming_;  // by stage and its recovery's commit
  std::map<std::uint32_t, Coming> taken_;                             // of them, by the step that begins
  std::map<std::uint32_t, Coming> mirrors_;                           // by stage
  std::optional<std::uint64_t> mirrored_;                             // the commit of the newest mirror
  std::map<std::uint32_t, std::uint64_t> elements_;                   // of each stage's gradient
  TaskId next_task_ = 1;
  std::int64_t compute_us_ = 0;  // since the last step was run
};

}  // namespace sidestep::daemon

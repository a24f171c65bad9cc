// What a job's `failures` do to it in one process: which stages are lost before a step, out of what they come
// back and when, as the job's `recovery` says (design.md, Recovery). Every stage is at one node.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "daemon/solo/step_follower.h"
#include "net/node_key.h"
#include "net/status.h"
#include "scheduler/job.h"
#include "scheduler/record.h"

namespace sidestep::daemon {

// What a step begins with.
struct Boundary {
  std::uint64_t step = 0;  // that runs next: the one asked for, or an earlier one after a roll-back
  std::vector<scheduler::RecordRecovery> recoveries;  // by stage
  std::vector<std::uint32_t> out;                     // stages that this step leaves out, ascending
};

// Owner: run_solo, which also owns the job and the follower; both outlive it.
class ScriptedLosses {
 public:
  ScriptedLosses(const scheduler::JobSpec& job, StepFollower& follower, const net::NodeKey& node)
      : job_(job), follower_(follower), node_(node) {}

  // Between two steps, before `step`. A step's losses strike when it is reached for the first time. Errors:
  // refused, with what was lost, where the policy has nothing to put in its place; a task's fault.
  Result<Boundary> before(std::uint64_t step);

 private:
  // Of a stage that is out.
  struct Outage {
    std::uint64_t rebuilt_at = 0;                      // before this step its sources are taken
    std::uint64_t back_at = 0;                         // this step has it again
    std::optional<scheduler::RecordRecovery> rebuilt;  // out of them
  };

  Status lose(std::uint64_t step, const std::vector<std::uint32_t>& lost, Boundary& boundary);
  // As the job says it of a loss at this step.
  Outage outage(std::uint64_t step, std::uint32_t stage) const;
  // All of the model as it was after the last checkpoint.
  void roll_back(std::uint64_t step, Boundary& boundary) const;
  // Takes the sources of stages that are out as long as the job says.
  Status rebuild(std::uint64_t step);
  void bring_back(std::uint64_t step, Boundary& boundary);
  Result<scheduler::RecordRecovery> rebuilt(std::uint64_t step, std::uint32_t stage,
                                            const std::vector<std::uint32_t>& out);
  // Whether the stage is lost with one of two holders only.
  bool has_second_holder(std::uint32_t stage) const { return job_.recovery.holders_wanted(stage) > 1; }
  // The stage as it was after `commit`.
  scheduler::RecordRecovery own(std::uint32_t stage, std::uint64_t commit, const char* policy,
                                bool moments) const;

  const scheduler::JobSpec& job_;
  StepFollower& follower_;
  net::NodeKey node_;
  std::uint64_t reached_ = 0;  // the furthest step so far
  std::map<std::uint32_t, Outage> out_;
};

}  // namespace sidestep::daemon

// The block `failures` of a job: stages that are lost on purpose, for experiments. Values; the same losses
// for everyone who asks, whatever became of those before.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/options.h"

namespace sidestep::scheduler {

// Stages that are lost as this step begins: nothing of them is left after the commit before it.
struct ListedFailure {
  std::int64_t step = 0;
  std::vector<std::uint32_t> stages;
  // In one process, in place of those that the job's block `recovery` has; -1: as that says.
  std::int64_t out_steps = -1;
  std::int64_t transfer_steps = -1;
};

struct FailureSpec {
  std::vector<ListedFailure> list;
  // Of each stage in each step, independent of the others (CheckFree, section 5: once a step, at its
  // beginning).
  double probability = 0;
  std::uint64_t seed = 0;  // of these draws alone
  bool stage_0 = false;    // is drawn too; in CheckFree it never fails

  bool any() const { return !list.empty() || probability > 0; }
  // Those listed and those drawn, ascending, each once. A pure function of the block, the step (1 is the
  // first) and the number of stages.
  std::vector<std::uint32_t> stages_lost_at(std::uint64_t step, std::uint32_t stages) const;
  // That has the stage lost at this step, or null: it is drawn.
  const ListedFailure* listed(std::uint64_t step, std::uint32_t stage) const;
};

void add_failure_keys(OptionTable& table, FailureSpec& failures);
// Listed stages and steps are those of the job.
void check_failures(const FailureSpec& failures, std::int64_t stages, std::int64_t steps, Problems& problems);

}  // namespace sidestep::scheduler

// Which stages the microbatches of a job visit when nothing of the machines counts: for solo, which is one
// machine, and for validations, whose losses must not depend on the swarm. Pure, deterministic.
#pragma once

#include "net/status.h"
#include "scheduler/job.h"
#include "scheduler/planner/construct.h"

namespace sidestep::scheduler {

// One set a training microbatch of a step with this skip ratio, in ascending order: the job's visit_share
// holds, nothing is swapped. Errors: refused, with the rule of the job that no routes keep.
Result<StageSets> training_sets(const JobSpec& job, double skip_ratio);

// One set a validation microbatch, by its number: all stages first, then those of each share of
// `validation.skip`, which leave out each stage in turn. `out`: by stage, not 0 where nobody holds it, and
// all leave it out; empty: there is none.
StageSets evaluation_sets(const JobSpec& job, const std::vector<char>& out = {});

}  // namespace sidestep::scheduler

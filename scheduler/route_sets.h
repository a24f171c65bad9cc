// Which stages the microbatches of a job visit when nothing of the machines counts: for solo, which is one
// machine, and for validations, whose losses must not depend on the swarm. Pure, deterministic.
#pragma once

#include "net/status.h"
#include "scheduler/job.h"
#include "scheduler/planner/construct.h"

namespace sidestep::scheduler {

// Sets the instance's visits and longest jump: those of the job's shares over the stages that are left; where
// no routes keep these, or the longest jump, with a stage out, the next best: any shares, then any jump. Of
// the instance's min_swap_share as much as routes allow stays.
void go_around(const JobSpec& job, Instance& instance);

// One set a training microbatch of a step with this skip ratio, in ascending order: the job's visit_share
// holds, nothing is swapped. `out`: as below; then go_around() says what holds. Errors: refused, with the
// rule of the job that no routes keep.
Result<StageSets> training_sets(const JobSpec& job, double skip_ratio, const std::vector<char>& out = {});

// One set a validation microbatch, by its number: all stages first, then those of each share of
// `validation.skip`, which leave out each stage in turn. `out`: by stage, not 0 where nobody holds it, and
// all leave it out; empty: there is none.
StageSets evaluation_sets(const JobSpec& job, const std::vector<char>& out = {});

}  // namespace sidestep::scheduler

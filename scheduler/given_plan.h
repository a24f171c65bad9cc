// A plan that comes with the job (`pipeline.plan`) instead of from the planner. Pure.
#pragma once

#include <string>
#include <vector>

#include "net/status.h"
#include "scheduler/job.h"
#include "scheduler/planner/instance.h"
#include "scheduler/planner/path_plan.h"

namespace sidestep::scheduler {

// The job's plan over the nodes of `instance`, which the plan calls by `nicknames` (one a node, in the same
// order). Errors: refused, with every line that names nothing known, every rule of the job that the plan
// breaks, or that its microbatches would wait for each other's slots for ever.
// Precondition: the job has a plan.
Result<PathPlan> given_plan(const JobSpec& job, const Instance& instance,
                            const std::vector<std::string>& nicknames);

}  // namespace sidestep::scheduler

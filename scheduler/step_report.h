// A step as JSON, for whoever draws it: what its tasks took, and beside that what the cost model says of it.
// Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "scheduler/plan_model.h"
#include "scheduler/step_watch.h"

namespace sidestep::scheduler {

// {step, epoch, stages, microbatches: [as routes begin], nodes: [{key, nickname, stages, commit_us}],
//  measured: {tasks: [Task], averages: [Average]},
//  predicted: {step_us, tasks: [Task], averages: [Average]}}
//   Task    [node, kind, stage, microbatch, ready_us, begin_us, end_us]   node: its place in `nodes`; kind:
//           "forward", "head", "backward", or "validation" for the forward of a validation microbatch or its
//           head; measured times count from when that node began the step
//   Average [node, stage, begin_us, end_us]
// Precondition: `nodes` are those of the plan, in key order, and the set is of this plan.
nlohmann::json step_report(const StepSet& set, const PlanModel& model,
                           const std::vector<PlacementNode>& nodes);

}  // namespace sidestep::scheduler

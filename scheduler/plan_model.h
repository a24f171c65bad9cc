// A plan that runs, as the cost model sees it. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scheduler/placement.h"
#include "scheduler/planner/evaluator.h"

namespace sidestep::scheduler {

struct PlanModel {
  Instance instance;  // its nodes are those of the plan, in key order
  PathPlan plan;
};

// Of the steps of this one's phase. Precondition: `nodes` are those of the plan, in key order.
PlanModel model_of(const JobSpec& job, const Plan& plan, std::uint64_t step,
                   const std::vector<PlacementNode>& nodes);

// For people: which node computes longest in a step, and which way takes a microbatch longest.
// "busiest is n3 with 8 microbatches of stage 2, 102 ms each; slowest way n1 to n4, 60.3 ms".
std::string slowest_text(const PlanModel& model, const std::vector<PlacementNode>& nodes);

// "412 ms", "4.1 ms".
std::string milliseconds(std::int64_t us);

}  // namespace sidestep::scheduler

// Plans for many nodes: the swarm is cut into pods, groups of near nodes that hold every stage and keep their
// microbatches to themselves. A pod is a small instance, so that its search is quick; the step is that of
// the slowest pod, so microbatches move from slow pods to fast ones. Pure.
#pragma once

#include <cstddef>

#include "net/status.h"
#include "scheduler/planner/instance.h"
#include "scheduler/planner/lanes.h"

namespace sidestep::scheduler {

// Whether there are enough nodes for more than one pod.
bool wants_pods(const Instance& instance);

// Errors: refused, if the nodes cannot be cut so that each pod keeps the rules.
Result<LaneResult> plan_in_pods(const Instance& instance, const SearchOptions& options, std::size_t lanes,
                                const Budget& budget, BudgetShare share, const PlanMachine& machine);

}  // namespace sidestep::scheduler

// What happens to a swarm after it was planned: each takes the instance, and the plan where who holds what
// matters, and gives the instance that is then.
#pragma once

#include <cstddef>
#include <cstdint>

#include "net/random.h"
#include "scheduler/planner/instance.h"
#include "scheduler/planner/path_plan.h"

namespace sidestep::scheduler::testing {

// Sizes of stages, a given placement and the numbers of origins follow.
Instance without_node(const Instance& before, const PathPlan& plan, std::size_t node);
// One more, as fast and as far from all others as `like`, and near it.
Instance with_node_like(const Instance& before, std::size_t like);
Instance with_draining(const Instance& before, const PathPlan& plan, std::size_t node);
// Precondition: stage > 0. Visits become free, as other stages get those of this one.
Instance with_stage_out(const Instance& before, std::uint32_t stage);
// Times of tasks and links become half to twice as long.
Instance with_other_costs(const Instance& before, net::Random& random);

}  // namespace sidestep::scheduler::testing

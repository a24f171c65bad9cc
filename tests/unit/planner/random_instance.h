// Random planning problems that can be planned: a plan is drawn first, then rules that it keeps.
#pragma once

#include <cstdint>

#include "net/random.h"
#include "scheduler/planner/instance.h"
#include "scheduler/planner/path_plan.h"

namespace sidestep::scheduler::testing {

struct InstanceSizes {
  std::int64_t nodes_min = 1, nodes_max = 10;
  std::int64_t stages_max = 7;
  std::int64_t microbatches_max = 12;
};

struct RandomInstance {
  Instance instance;
  // Keeps every rule of the instance; whether its microbatches wait for each other for ever is left to
  // chance.
  PathPlan witness;
};

// Any mix of rules: swaps, jumps, visits exact, loose or free, numbers for each origin or for the step, stage
// sizes or a placement given or free, stages that are out, nodes that drain or cannot be origins or have no
// links, several stages a node, slots and memory, averaging, shares of swaps, times with many ties.
RandomInstance random_instance(net::Random& random, const InstanceSizes& sizes = {});

// One node for each live stage at least, one stage a node, all links: what a swarm looks like.
Instance random_swarm(net::Random& random, std::int64_t nodes, std::int64_t stages,
                      std::int64_t microbatches);

}  // namespace sidestep::scheduler::testing

// Cuts a swarm into groups of near nodes. Pure, deterministic.
#pragma once

#include <cstddef>
#include <vector>

#include "scheduler/planner/instance.h"

namespace sidestep::scheduler {

// Groups of at least `size` nodes, about, in index order: from the rim inwards, each grows by the node whose
// longest way to the group is shortest, to `size`, and on as long as the group does not become wider.
// Nodes that drain are in none.
std::vector<std::vector<std::size_t>> cut_nodes(const Instance& instance, std::size_t size);

}  // namespace sidestep::scheduler

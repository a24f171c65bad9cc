// Microbatches dealt out to the nodes of a stage. Pure.
#pragma once

#include <cstddef>
#include <vector>

namespace sidestep::scheduler {

// Which of the nodes, by index, gets each of `count` microbatches: in proportion to their speeds by largest
// remainders, at least one each where there are enough; each node's as far apart as its share says.
// Precondition: speeds are above 0, and there is one.
std::vector<std::size_t> deal_out(const std::vector<double>& speeds, std::size_t count);

}  // namespace sidestep::scheduler

// A job and the nodes that would run it, as a problem for the planner (planner/instance.h). Pure.
//
// What is measured: a layer and the head on each node, and the ways between them. What is not, is assumed: a
// third of a layer's time is its forward, the rest its backward, until tasks of the job were timed; nodes
// whose way was not measured are 1 ms and 125 MB/s (1 Gbit/s) apart, for activations as for averaging.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/job.h"
#include "scheduler/memory.h"
#include "scheduler/placement.h"
#include "scheduler/planner/instance.h"

namespace sidestep::scheduler {

// What `node` has for stages; unknown_bytes where it has not said.
std::uint64_t bytes_for_stages(const PlacementNode& node);

// How many microbatches a node with so many bytes can keep beside a stage that needs this, at most the job's
// slots; 0: the stage does not fit. What waits and travels is counted for all of the job's slots even so:
// microbatches that find none come all the same, and are computed again later.
std::uint32_t slots_within(const MemoryNeed& need, std::uint64_t bytes);

// Of steps with this skip ratio. `nodes` in key order, at most Instance::nodes_max. `sizes` holds the number
// of nodes of each stage; a stage of one then needs no memory for its averages. Empty: sizes are free, and
// every stage needs it.
Instance placement_instance(const JobSpec& job, double skip_ratio,
                            const std::vector<const PlacementNode*>& nodes,
                            const std::vector<std::uint32_t>& sizes);

}  // namespace sidestep::scheduler

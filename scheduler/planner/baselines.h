// What the planner is compared with, in the same program (figures.md, SkipPipe). Pure.
#pragma once

#include <cstdint>

#include "net/status.h"
#include "scheduler/planner/draft.h"
#include "scheduler/planner/instance.h"
#include "scheduler/planner/lanes.h"

namespace sidestep::scheduler {

// DT-FM (Yuan et al. 2022) as SkipPipe's authors compare with it: columns of one node a stage, placed by a
// local search so that the slowest link within a stage and, twice, the sum over stages of the slowest link to
// the next one are least; microbatches go down the columns in turn. Nodes that fill no column stay out.
// Precondition: the instance is for_method(..., dtfm). Errors: refused, if the nodes fill no column.
Result<Draft> plan_dtfm(const Instance& instance, std::uint64_t seed, const Budget& budget);

// Stage sets that keep the visits, on nodes drawn at random with even numbers of visits.
Result<Draft> plan_random_skip(const Instance& instance, std::uint64_t seed);

}  // namespace sidestep::scheduler

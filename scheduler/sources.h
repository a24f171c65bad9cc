// Out of which stages a lost one is rebuilt (design.md, Recovery; CheckFree, section 4). Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/job.h"
#include "scheduler/plan.h"

namespace sidestep::scheduler {

// With checkfree+ the stage's twin (twin_stages.h), if it has one that is not out. Else the nearest stages
// below and above that have layers and are not among those that are `out` (ascending), in this order. At the
// edge there is one; with `copy` that below alone, if there is one. Empty: there is nothing to rebuild it
// from. With `random` as with the default: their state is not taken, but they say from which commit on the
// stage is there.
std::vector<std::uint32_t> sources_of(const JobSpec& job, const std::vector<std::uint32_t>& out,
                                      std::uint32_t stage);

struct RebuildSource {
  std::uint32_t stage = 0;
  std::vector<net::NodeKey> nodes;  // that have its state; any of them will do
};

// The same under a plan that has the stage out, and who has them; or the stage itself, alone, where its
// mirror is to be had.
std::vector<RebuildSource> rebuild_sources(const JobSpec& job, const Plan& plan, std::uint32_t stage);

}  // namespace sidestep::scheduler

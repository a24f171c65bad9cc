// Out of which stages a lost one is rebuilt, and how much each counts (design.md, Recovery; CheckFree,
// section 4). Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scheduler/job.h"
#include "scheduler/record.h"

namespace sidestep::recovery {

// With checkfree+ the stage's twin (scheduler/twin_stages.h), if it has one that is not out. Else the nearest
// stages below and above that have layers and are not among those that are `out` (ascending), in
// this order. At the edge there is one; with `copy` that below alone, if there is one. Empty: there is
// nothing to rebuild it from. With `random` as with the default: their state is not taken, but they say from
// which commit on the stage is there.
std::vector<std::uint32_t> sources_of(const scheduler::JobSpec& job, const std::vector<std::uint32_t>& out,
                                      std::uint32_t stage);

struct SourceNorm {
  std::uint32_t stage = 0;
  double gradient_norm = 0;  // of its last gradient, averaged and clipped
};

// Weights that add up to 1, in the order given; nothing for `random`. A norm that is not finite counts as 0.
std::vector<scheduler::RecordRecovery::Source> weigh(const scheduler::RecoverySpec& recovery,
                                                     const std::vector<SourceNorm>& sources);

// "38 % of stage 1, 62 % of stage 3", or "fresh weights": for people.
std::string describe(const std::vector<scheduler::RecordRecovery::Source>& sources);

}  // namespace sidestep::recovery

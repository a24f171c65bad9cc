// How much each of the stages counts that a lost one is rebuilt from (design.md, Recovery; CheckFree, section
// 4). Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scheduler/job.h"
#include "scheduler/record.h"

namespace sidestep::recovery {

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

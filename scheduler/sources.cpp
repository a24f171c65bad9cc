#include "scheduler/sources.h"

#include <algorithm>

#include "scheduler/plan.h"

namespace sidestep::scheduler {

std::vector<std::uint32_t> sources_of(const JobSpec& job, const std::vector<std::uint32_t>& out,
                                      std::uint32_t stage) {
  std::vector<std::uint32_t> below, above;
  for (std::uint32_t other = 0; other < static_cast<std::uint32_t>(job.pipeline.stages); ++other) {
    if (other == stage || has_stage(out, other) || job.layer_count(other) == 0) continue;
    if (other < stage)
      below = {other};
    else if (above.empty())
      above = {other};
  }
  if (!(job.recovery.weights == "copy" && !below.empty()))
    below.insert(below.end(), above.begin(), above.end());
  return below;
}

}  // namespace sidestep::scheduler

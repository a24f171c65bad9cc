#include "scheduler/sources.h"

#include <algorithm>

#include "scheduler/twin_stages.h"

namespace sidestep::scheduler {

std::vector<std::uint32_t> sources_of(const JobSpec& job, const std::vector<std::uint32_t>& out,
                                      std::uint32_t stage) {
  const auto stages = static_cast<std::uint32_t>(job.pipeline.stages);
  if (job.recovery.policy == "checkfree+") {
    const auto twin = twin_of(stage, stages);
    if (twin && !has_stage(out, *twin)) return {*twin};
  }
  std::vector<std::uint32_t> below, above;
  for (std::uint32_t other = 0; other < stages; ++other) {
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

std::vector<RebuildSource> rebuild_sources(const JobSpec& job, const Plan& plan, std::uint32_t stage) {
  if (has_stage(plan.mirrored, stage)) return {{stage, {plan.keeper_of(stage).value()}}};
  std::vector<RebuildSource> sources;
  for (const std::uint32_t source : sources_of(job, plan.stages_out, stage))
    sources.push_back({source, plan.replicas(source)});
  return sources;
}

}  // namespace sidestep::scheduler

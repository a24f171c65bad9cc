#include "recovery/sources.h"

#include <algorithm>
#include <cmath>

#include "scheduler/plan.h"
#include "scheduler/twin_stages.h"

namespace sidestep::recovery {
namespace {

// Added to each norm, so that stages that have not moved yet count alike.
constexpr double norm_least = 1e-4;

}  // namespace

std::vector<std::uint32_t> sources_of(const scheduler::JobSpec& job, const std::vector<std::uint32_t>& out,
                                      std::uint32_t stage) {
  const auto stages = static_cast<std::uint32_t>(job.pipeline.stages);
  if (job.recovery.policy == "checkfree+") {
    const auto twin = scheduler::twin_of(stage, stages);
    if (twin && !scheduler::has_stage(out, *twin)) return {*twin};
  }
  std::vector<std::uint32_t> below, above;
  for (std::uint32_t other = 0; other < stages; ++other) {
    if (other == stage || scheduler::has_stage(out, other) || job.layer_count(other) == 0) continue;
    if (other < stage)
      below = {other};
    else if (above.empty())
      above = {other};
  }
  if (!(job.recovery.weights == "copy" && !below.empty()))
    below.insert(below.end(), above.begin(), above.end());
  return below;
}

std::vector<scheduler::RecordRecovery::Source> weigh(const scheduler::RecoverySpec& recovery,
                                                     const std::vector<SourceNorm>& sources) {
  std::vector<scheduler::RecordRecovery::Source> weighed;
  if (recovery.weights == "random") return weighed;
  double sum = 0;
  for (const SourceNorm& source : sources) {
    const double norm = std::isfinite(source.gradient_norm) ? std::max(source.gradient_norm, 0.0) : 0.0;
    const double weight =
        recovery.weights == "gradient" ? std::pow(norm + norm_least, recovery.weight_power) : 1.0;
    weighed.push_back({source.stage, weight});
    sum += weight;
  }
  // Powers of huge or tiny norms may leave nothing to divide by.
  const bool sound = std::isfinite(sum) && sum > 0;
  for (auto& source : weighed)
    source.weight = sound ? source.weight / sum : 1.0 / static_cast<double>(weighed.size());
  return weighed;
}

std::string describe(const std::vector<scheduler::RecordRecovery::Source>& sources) {
  std::string text;
  for (const scheduler::RecordRecovery::Source& source : sources)
    text += (text.empty() ? "" : ", ") + std::to_string(static_cast<int>(100 * source.weight + 0.5)) +
            " % of stage " + std::to_string(source.stage);
  return text.empty() ? "fresh weights" : text;
}

}  // namespace sidestep::recovery

#include "recovery/weights.h"

#include <algorithm>
#include <cmath>

namespace sidestep::recovery {
namespace {

// Added to each norm, so that stages that have not moved yet count alike.
constexpr double norm_least = 1e-4;

}  // namespace

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

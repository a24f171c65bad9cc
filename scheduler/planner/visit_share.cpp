#include "scheduler/planner/visit_share.h"

#include <algorithm>
#include <cmath>

namespace sidestep::scheduler {

std::vector<double> even_weights(std::uint32_t stages) { return std::vector<double>(stages, 1.0); }

std::vector<double> depth_weights(std::uint32_t stages) {
  std::vector<double> weights(stages, 1.0);
  for (std::uint32_t s = 1; s < stages; ++s) weights[s] = 1.0 / s;
  return weights;
}

std::vector<double> visit_shares(const Instance& instance, const std::vector<double>& weights) {
  const double microbatches = instance.microbatches;
  std::vector<double> shares(instance.stages, 0);
  shares[0] = microbatches;
  std::vector<std::uint32_t> heaviest_first;
  double weight = 0;
  for (std::uint32_t s = 1; s < instance.stages; ++s) {
    if (instance.stage_out[s] != 0 || weights[s] <= 0) continue;
    heaviest_first.push_back(s);
    weight += weights[s];
  }
  std::stable_sort(heaviest_first.begin(), heaviest_first.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return weights[a] > weights[b]; });
  // The heaviest are the first that would get more visits than there are microbatches.
  double left = microbatches * (std::max(instance.route_length(), 1u) - 1);
  for (const std::uint32_t s : heaviest_first) {
    shares[s] = std::min(microbatches, left * weights[s] / weight);
    left -= shares[s];
    weight -= weights[s];
  }
  return shares;
}

void share_visits(Instance& instance, const std::vector<double>& weights, std::uint32_t slack) {
  constexpr double rounding = 1e-6;
  free_visits(instance);
  const std::vector<double> shares = visit_shares(instance, weights);
  for (std::uint32_t s = 1; s < instance.stages; ++s) {
    if (instance.stage_out[s] != 0) continue;
    const double least = std::floor(shares[s] + rounding) - slack;
    const double most = std::ceil(shares[s] - rounding) + slack;
    instance.min_visits[s] = static_cast<std::uint32_t>(std::max(least, 0.0));
    instance.max_visits[s] = static_cast<std::uint32_t>(std::min<double>(most, instance.microbatches));
  }
}

void free_visits(Instance& instance) {
  instance.min_visits.assign(instance.stages, 0);
  instance.max_visits.assign(instance.stages, instance.microbatches);
  instance.min_visits[0] = instance.microbatches;
  for (std::uint32_t s = 1; s < instance.stages; ++s)
    if (instance.stage_out[s] != 0) instance.max_visits[s] = 0;
}

}  // namespace sidestep::scheduler

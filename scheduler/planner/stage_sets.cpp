// Which stages each microbatch visits: as evenly as the visit limits ask, one microbatch after the other.
#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>

#include "scheduler/planner/construct.h"
#include "scheduler/planner/rules.h"

namespace sidestep::scheduler {
namespace {

std::uint32_t most_visits(const Instance& instance, std::uint32_t stage) {
  return instance.stage_out[stage] != 0 ? 0 : std::min(instance.max_visits[stage], instance.microbatches);
}

// The stages of one route: `count` of them past stage 0, ascending, no jump over max_skip, with the largest
// sum of weights. Empty if there is no such route.
std::vector<std::uint32_t> heaviest(const Instance& instance, const std::vector<double>& weights,
                                    std::size_t count) {
  const std::uint32_t stages = instance.stages;
  const auto live = [&](std::uint32_t stage) { return instance.stage_out[stage] == 0; };
  if (instance.max_skip >= stages) {
    std::vector<std::uint32_t> route;
    for (std::uint32_t stage = 1; stage < stages; ++stage)
      if (live(stage)) route.push_back(stage);
    if (route.size() < count) return {};
    std::stable_sort(route.begin(), route.end(), [&](auto a, auto b) { return weights[a] > weights[b]; });
    route.resize(count);
    std::sort(route.begin(), route.end());
    route.insert(route.begin(), 0);
    return route;
  }
  // best[hops][stage]: heaviest way that has made so many hops past stage 0 and stands at this stage.
  constexpr double none = -std::numeric_limits<double>::infinity();
  std::vector<std::vector<double>> best(count + 1, std::vector<double>(stages, none));
  std::vector<std::vector<std::uint32_t>> from(count + 1, std::vector<std::uint32_t>(stages, 0));
  best[0][0] = 0;
  for (std::size_t hops = 1; hops <= count; ++hops)
    for (std::uint32_t stage = 1; stage < stages; ++stage) {
      if (!live(stage)) continue;
      for (std::uint32_t before = stage - std::min(stage, instance.max_skip); before < stage; ++before)
        if (best[hops - 1][before] + weights[stage] > best[hops][stage]) {
          best[hops][stage] = best[hops - 1][before] + weights[stage];
          from[hops][stage] = before;
        }
    }
  const auto last = std::max_element(best[count].begin(), best[count].end());
  if (*last == none) return {};
  std::vector<std::uint32_t> route(count + 1, 0);
  auto stage = static_cast<std::uint32_t>(last - best[count].begin());
  for (std::size_t hops = count; hops > 0; stage = from[hops][stage], --hops) route[hops] = stage;
  return route;
}

// The pairs of CheckFree+: counted in both orders, turned round where the share asks for it.
class Swaps {
 public:
  explicit Swaps(const Instance& instance)
      : instance_(instance),
        pairs_(swap_pairs(instance)),
        needed_(swaps_needed(instance)),
        up_(pairs_.size(), 0),
        down_(pairs_.size(), 0) {}

  void favour(std::vector<double>& weights, double bonus) const {
    for (std::size_t i = 0; i < pairs_.size(); ++i)
      if (up_[i] + down_[i] < 2 * needed_) {
        weights[pairs_[i].low] += bonus;
        weights[pairs_[i].high] += bonus;
      }
  }

  void turn(std::vector<std::uint32_t>& route) {
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
      const auto low = std::find(route.begin(), route.end(), pairs_[i].low);
      const auto high = std::find(route.begin(), route.end(), pairs_[i].high);
      if (low == route.end() || high == route.end()) continue;
      if (down_[i] < needed_ && down_[i] <= up_[i]) {
        std::iter_swap(low, high);
        if (order_allowed(instance_, route.data(), route.size())) {
          ++down_[i];
          continue;
        }
        std::iter_swap(low, high);
      }
      ++up_[i];
    }
  }

  Status check() const {
    for (std::size_t i = 0; i < pairs_.size(); ++i)
      if (std::min(up_[i], down_[i]) < needed_)
        return Status::refused("stages " + std::to_string(pairs_[i].low) + " and " +
                               std::to_string(pairs_[i].high) + ": " + std::to_string(up_[i]) +
                               " routes can pass them in order and " + std::to_string(down_[i]) +
                               " swapped, min_swap_share asks for " + std::to_string(needed_) +
                               " of each: lower it, or raise max_swaps or their visits");
    return {};
  }

 private:
  const Instance& instance_;
  std::vector<SwapPair> pairs_;
  std::uint32_t needed_;
  std::vector<std::uint32_t> up_, down_;  // routes by order, for each pair
};

}  // namespace

Instance without_drained_stages(const Instance& instance) {
  if (!instance.placement_fixed()) return instance;
  std::vector<char> held(instance.stages, 0);
  for (std::size_t n = 0; n < instance.node_count(); ++n)
    for (const std::uint32_t stage : instance.stage_of[n])
      if (!instance.nodes[n].draining) held[stage] = 1;
  Instance result = instance;
  for (std::uint32_t stage = 1; stage < instance.stages; ++stage)
    if (held[stage] == 0) result.max_visits[stage] = 0;
  return result;
}

std::vector<std::uint32_t> visit_targets(const Instance& instance) {
  std::vector<std::uint32_t> targets(instance.stages, 0);
  targets[0] = instance.microbatches;
  std::vector<double> weight(instance.stages, 1);
  if (instance.placement_fixed()) {
    std::fill(weight.begin(), weight.end(), 0);
    for (const auto& held : instance.stage_of)
      for (const std::uint32_t stage : held) weight[stage] += 1;
  } else if (!instance.stage_sizes.empty()) {
    weight.assign(instance.stage_sizes.begin(), instance.stage_sizes.end());
  }
  std::uint64_t left = std::uint64_t{instance.microbatches} * (instance.route_length() - 1);
  for (std::uint32_t stage = 1; stage < instance.stages; ++stage) {
    targets[stage] = std::min(instance.min_visits[stage], most_visits(instance, stage));
    left -= std::min<std::uint64_t>(left, targets[stage]);
  }
  for (; left > 0; --left) {
    std::uint32_t best = 0;
    double least = 0;
    for (std::uint32_t stage = 1; stage < instance.stages; ++stage) {
      if (targets[stage] >= most_visits(instance, stage) || weight[stage] <= 0) continue;
      const double share = (targets[stage] + 1) / weight[stage];
      if (best == 0 || share < least) {
        best = stage;
        least = share;
      }
    }
    if (best == 0) break;
    ++targets[best];
  }
  return targets;
}

Result<StageSets> choose_stage_sets(const Instance& instance) {
  std::vector<std::int64_t> left;
  for (const std::uint32_t target : visit_targets(instance)) left.push_back(target);
  std::vector<std::uint32_t> visits(instance.stages, 0);
  const std::size_t count = instance.route_length() - 1;
  constexpr double must = 1e6;
  Swaps swaps(instance);
  StageSets sets;
  for (std::uint32_t m = 0; m < instance.microbatches; ++m) {
    const auto rows_left = static_cast<double>(instance.microbatches - m);
    std::vector<double> weights(instance.stages, 0);
    for (std::uint32_t stage = 1; stage < instance.stages; ++stage) {
      weights[stage] = static_cast<double>(left[stage]) / rows_left;
      if (instance.min_visits[stage] >= visits[stage] + rows_left) weights[stage] += must;
      if (visits[stage] >= instance.max_visits[stage]) weights[stage] -= must;
    }
    swaps.favour(weights, must / 1000);
    std::vector<std::uint32_t> route = heaviest(instance, weights, count);
    if (route.empty())
      return Status::refused("no route visits " + std::to_string(count + 1) +
                             " of the live stages with max_skip " + std::to_string(instance.max_skip) +
                             ": raise max_skip, or lower stages_per_path");
    for (const std::uint32_t stage : route) {
      --left[stage];
      ++visits[stage];
    }
    swaps.turn(route);
    sets.push_back(std::move(route));
  }
  for (std::uint32_t stage = 1; stage < instance.stages; ++stage) {
    if (instance.stage_out[stage] != 0) continue;
    const bool few = visits[stage] < instance.min_visits[stage];
    if (few || visits[stage] > instance.max_visits[stage])
      return Status::refused("stage " + std::to_string(stage) + ": " + std::to_string(visits[stage]) +
                             " visits a step are what routes of " + std::to_string(count + 1) +
                             " stages give it, at " + (few ? "least " : "most ") +
                             std::to_string(few ? instance.min_visits[stage] : instance.max_visits[stage]) +
                             " are wanted: change its visits or max_skip");
  }
  if (Status status = swaps.check(); !status.ok()) return status;
  return sets;
}

}  // namespace sidestep::scheduler

#include "scheduler/planner/rules.h"

#include <array>
#include <cmath>

namespace sidestep::scheduler {

bool order_allowed(const Instance& instance, const std::uint32_t* stages, std::size_t count) {
  static_assert(Instance::stages_max % 64 == 0);
  if (count == 0 || stages[0] != 0) return false;
  std::array<std::uint64_t, Instance::stages_max / 64> seen;
  std::fill_n(seen.begin(), (instance.stages + 63) / 64, 0);
  std::uint32_t furthest = 0, swaps = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t stage = stages[i];
    const std::uint64_t bit = std::uint64_t{1} << (stage % 64);
    if ((seen[stage / 64] & bit) != 0 || instance.stage_out[stage] != 0) return false;
    seen[stage / 64] |= bit;
    if (stage < furthest) {
      if (++swaps > instance.max_swaps || furthest - stage > instance.max_swap_distance) return false;
    } else {
      if (stage - furthest > instance.max_skip) return false;
      furthest = stage;
    }
  }
  return true;
}

std::vector<SwapPair> swap_pairs(const Instance& instance) {
  if (instance.min_swap_share <= 0 || instance.stages < 5) return {};
  std::vector<SwapPair> pairs;
  for (const SwapPair pair : {SwapPair{1, 2}, SwapPair{instance.stages - 2, instance.stages - 1}})
    if (instance.stage_out[pair.low] == 0 && instance.stage_out[pair.high] == 0) pairs.push_back(pair);
  return pairs;
}

std::uint32_t swaps_needed(const Instance& instance) {
  return static_cast<std::uint32_t>(std::ceil(instance.min_swap_share * instance.microbatches - 1e-9));
}

}  // namespace sidestep::scheduler

#include "scheduler/twin_stages.h"

#include <utility>

#include "net/assert.h"

namespace sidestep::scheduler {

std::optional<std::uint32_t> twin_of(std::uint32_t stage, std::uint32_t stages) {
  SIDESTEP_ASSERT(stages >= twins_stages_least);
  for (const std::uint32_t lower : {1u, stages - 2}) {
    if (stage == lower) return lower + 1;
    if (stage == lower + 1) return lower;
  }
  return std::nullopt;
}

std::vector<std::uint32_t> in_twin_order(std::vector<std::uint32_t> route, std::uint32_t microbatch,
                                         std::uint32_t stages) {
  if (microbatch % 2 == 0) return route;
  for (std::size_t i = 0; i + 1 < route.size(); ++i)
    if (route[i] < route[i + 1] && twin_of(route[i], stages) == route[i + 1])
      std::swap(route[i], route[i + 1]);
  return route;
}

}  // namespace sidestep::scheduler

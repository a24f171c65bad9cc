#include "recovery/weighted_average.h"

#include <algorithm>

#include "net/assert.h"

namespace sidestep::recovery {

void weighted_average(const std::vector<Weighted>& sources, std::span<float> out) {
  SIDESTEP_ASSERT(std::ranges::all_of(
      sources, [&](const Weighted& source) { return source.values.size() == out.size(); }));
  for (std::size_t i = 0; i < out.size(); ++i) {
    double sum = 0;
    for (const Weighted& source : sources) sum += source.weight * static_cast<double>(source.values[i]);
    out[i] = static_cast<float>(sum);
  }
}

}  // namespace sidestep::recovery

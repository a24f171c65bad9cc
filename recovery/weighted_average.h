// The arithmetic of a rebuild (CheckFree, design.md, Recovery): several stages' flat buffers become one.
#pragma once

#include <span>
#include <vector>

namespace sidestep::recovery {

struct Weighted {
  std::span<const float> values;
  double weight = 0;  // not negative
};

// out[i] = sum of weight * values[i], each product and the sum in double precision, in the order given: the
// same on every machine. Precondition: sources and `out` are of one length. The caller has the weights add up
// to 1.
void weighted_average(const std::vector<Weighted>& sources, std::span<float> out);

}  // namespace sidestep::recovery

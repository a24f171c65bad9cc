// Which token follows, out of a model's logits. Pure: the random numbers come from the seed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "net/random.h"

namespace sidestep::daemon {

struct Sampling {
  double temperature = 1;  // divides the logits; 0: always the largest
  std::int64_t top_k = 0;  // of the most likely tokens alone; 0: of all
  double top_p = 1;        // of the fewest most likely tokens that have this much of the probability together
};

struct Candidate {
  std::int64_t token = 0;
  double probability = 0;  // among the candidates
};

// Who may be drawn, and how likely each is: temperature first, then top_k, then top_p of what that leaves, as
// Hugging Face's generate. Most likely first where top_k or top_p choose, else by number; of equal logits the
// lower number comes first. Precondition: logits are not empty, none is NaN and one is finite.
std::vector<Candidate> candidates(std::span<const float> logits, const Sampling& sampling);

class TokenSampler {
 public:
  TokenSampler(const Sampling& sampling, std::uint64_t seed) : sampling_(sampling), random_(seed) {}
  // Precondition: that of candidates().
  std::int64_t pick(std::span<const float> logits);

 private:
  Sampling sampling_;
  net::Random random_;
};

}  // namespace sidestep::daemon

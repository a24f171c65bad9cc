#include "daemon/generate/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "net/assert.h"

namespace sidestep::daemon {
namespace {

// The numbers of the tokens that may be drawn before top_p, in the order that candidates() promises.
std::vector<std::int64_t> most_likely(std::span<const float> logits, const Sampling& sampling) {
  std::vector<std::int64_t> order(logits.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const auto before = [&](std::int64_t a, std::int64_t b) {
    const float first = logits[static_cast<std::size_t>(a)], second = logits[static_cast<std::size_t>(b)];
    return first != second ? first > second : a < b;
  };
  const bool fewer = sampling.top_k > 0 && sampling.top_k < std::ssize(order);
  if (!fewer && sampling.top_p >= 1) return order;
  const auto kept = order.begin() + (fewer ? sampling.top_k : std::ssize(order));
  std::partial_sort(order.begin(), kept, order.end(), before);
  order.erase(kept, order.end());
  return order;
}

}  // namespace

std::vector<Candidate> candidates(std::span<const float> logits, const Sampling& sampling) {
  SIDESTEP_ASSERT(!logits.empty());
  const auto largest = std::max_element(logits.begin(), logits.end());
  if (sampling.temperature == 0) return {{largest - logits.begin(), 1}};
  std::vector<Candidate> list;
  double sum = 0;
  for (const std::int64_t token : most_likely(logits, sampling)) {
    const double above = static_cast<double>(logits[static_cast<std::size_t>(token)]) - *largest;
    list.push_back({token, std::exp(above / sampling.temperature)});
    sum += list.back().probability;
  }
  if (sampling.top_p < 1) {
    double together = 0;
    std::size_t count = 0;
    while (count < list.size() && (count == 0 || together < sampling.top_p * sum))
      together += list[count++].probability;
    list.resize(count);
    sum = together;
  }
  for (Candidate& candidate : list) candidate.probability /= sum;
  return list;
}

std::int64_t TokenSampler::pick(std::span<const float> logits) {
  const std::vector<Candidate> list = candidates(logits, sampling_);
  if (list.size() == 1) return list.front().token;
  double left = random_.uniform();
  // Rounding may leave a little over at the end: then the last one that can be drawn at all.
  std::int64_t last = list.front().token;
  for (const Candidate& candidate : list) {
    if (candidate.probability == 0) continue;
    last = candidate.token;
    left -= candidate.probability;
    if (left < 0) break;
  }
  return last;
}

}  // namespace sidestep::daemon

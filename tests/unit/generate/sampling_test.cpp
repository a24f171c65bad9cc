#include "daemon/generate/sampling.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <vector>

namespace sidestep::daemon {
namespace {

// Logits of these probabilities.
std::vector<float> logits_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double probability : probabilities) logits.push_back(static_cast<float>(std::log(probability)));
  return logits;
}

std::vector<std::int64_t> tokens_of(const std::vector<Candidate>& list) {
  std::vector<std::int64_t> tokens;
  for (const Candidate& candidate : list) tokens.push_back(candidate.token);
  return tokens;
}

using Tokens = std::vector<std::int64_t>;
const std::vector<double> four{0.1, 0.4, 0.2, 0.3};

}  // namespace

TEST_CASE("Sampling: temperature 0 takes the largest, of equal ones the first") {
  const std::vector<float> logits{1, 3, 2, 3};
  TokenSampler sampler({.temperature = 0}, 1);
  for (int i = 0; i < 10; ++i) CHECK(sampler.pick(logits) == 1);
  CHECK(tokens_of(candidates(logits, {.temperature = 0, .top_k = 3, .top_p = 0.5})) == Tokens{1});
}

TEST_CASE("Sampling: drawn tokens come as often as the model says") {
  TokenSampler sampler({}, 7);
  std::vector<int> counts(4);
  constexpr int draws = 20'000;
  for (int i = 0; i < draws; ++i) ++counts[static_cast<std::size_t>(sampler.pick(logits_of(four)))];
  // Four standard deviations of the most spread one are 0.014.
  for (std::size_t i = 0; i < four.size(); ++i)
    CHECK(counts[i] / static_cast<double>(draws) == Approx(four[i]).margin(0.014));
}

TEST_CASE("Sampling: the seed decides, and another seed decides otherwise") {
  const auto draw = [](std::uint64_t seed) {
    TokenSampler sampler({}, seed);
    Tokens tokens;
    for (int i = 0; i < 20; ++i) tokens.push_back(sampler.pick(logits_of(four)));
    return tokens;
  };
  CHECK(draw(3) == draw(3));
  CHECK(draw(3) != draw(4));
}

TEST_CASE("Sampling: temperature sharpens and flattens") {
  const auto probability_of_1 = [](double temperature) {
    for (const Candidate& candidate : candidates(logits_of(four), {.temperature = temperature}))
      if (candidate.token == 1) return candidate.probability;
    return 0.0;
  };
  // Probabilities to the power of 1 / temperature.
  CHECK(probability_of_1(1) == Approx(0.4).epsilon(1e-6));
  CHECK(probability_of_1(0.5) == Approx(0.16 / 0.30).epsilon(1e-6));
  CHECK(probability_of_1(1e-3) == Approx(1));
  CHECK(probability_of_1(1e6) == Approx(0.25).epsilon(1e-4));
}

TEST_CASE("Sampling: top_k keeps the most likely, of equal ones the first") {
  const auto kept = candidates(logits_of(four), {.top_k = 2});
  CHECK(tokens_of(kept) == Tokens{1, 3});
  CHECK(kept[0].probability == Approx(0.4 / 0.7).epsilon(1e-6));
  CHECK(tokens_of(candidates(logits_of(four), {.top_k = 1})) == Tokens{1});
  CHECK(candidates(logits_of(four), {.top_k = 9}).size() == 4);
  const std::vector<float> equal{2, 5, 5, 5};
  CHECK(tokens_of(candidates(equal, {.top_k = 2})) == Tokens{1, 2});
}

TEST_CASE("Sampling: top_p keeps the fewest that have so much together, and never none") {
  const auto kept = [](double top_p) { return tokens_of(candidates(logits_of(four), {.top_p = top_p})); };
  CHECK(kept(0) == Tokens{1});
  CHECK(kept(0.39) == Tokens{1});
  CHECK(kept(0.41) == Tokens{1, 3});
  CHECK(kept(0.69) == Tokens{1, 3});
  CHECK(kept(0.71) == Tokens{1, 3, 2});
  CHECK(kept(0.999) == Tokens{1, 3, 2, 0});
  CHECK(kept(1) == Tokens{0, 1, 2, 3});
  const auto both = candidates(logits_of(four), {.top_k = 3, .top_p = 0.7});
  // Of 0.4, 0.3 and 0.2 together 0.9: 0.4 alone is less than 0.7 of it, with 0.3 it is more.
  CHECK(tokens_of(both) == Tokens{1, 3});
  CHECK(both[0].probability + both[1].probability == Approx(1));
}

TEST_CASE("Sampling: a token of probability 0 never comes, huge logits do no harm") {
  const float never = -std::numeric_limits<float>::infinity();
  TokenSampler sampler({}, 5);
  for (int i = 0; i < 1'000; ++i) CHECK(sampler.pick(std::vector<float>{never, 3e38f, never}) == 1);
  const auto list = candidates(std::vector<float>{3e38f, -3e38f}, {.temperature = 1e-3});
  CHECK(list[0].probability == 1);
  CHECK(list[1].probability == 0);
}

}  // namespace sidestep::daemon

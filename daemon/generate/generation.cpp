#include "daemon/generate/generation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "net/assert.h"

namespace sidestep::daemon {
namespace {

constexpr std::int64_t tokens_unasked_max = 256;

// An infinity below zero only says that a token never comes.
Status check_logits(std::span<const float> logits, std::size_t position) {
  const bool sound = std::none_of(logits.begin(), logits.end(), [](float logit) {
    return std::isnan(logit) || logit == std::numeric_limits<float>::infinity();
  });
  const bool one_finite =
      std::any_of(logits.begin(), logits.end(), [](float logit) { return std::isfinite(logit); });
  if (sound && one_finite) return {};
  return Status::invalid("the model's logits at position " + std::to_string(position) +
                         " are not finite: its training failed, or it needs --precision float32");
}

// Sample 0 of a seed is not sample 1 of the seed before.
std::uint64_t seed_of(std::uint64_t seed, std::int64_t sample) {
  return net::Random(net::Random(seed).next() ^ static_cast<std::uint64_t>(sample)).next();
}

}  // namespace

Status generate(LanguageModel& model, std::span<const std::int64_t> prompt, const GenerationOptions& options,
                GenerationSink& sink) {
  SIDESTEP_ASSERT(!prompt.empty());
  const std::span<const float> first = model.take(prompt);
  const std::vector<float> after_prompt(first.begin(), first.end());
  for (std::int64_t sample = 0; sample < options.samples; ++sample) {
    model.rewind(std::ssize(prompt));
    if (Status status = sink.begin_sample(sample); !status.ok()) return status;
    TokenSampler sampler(options.sampling, seed_of(options.seed, sample));
    std::span<const float> logits = after_prompt;
    bool at_end = false;
    for (std::int64_t made = 0; made < options.tokens; ++made) {
      const std::size_t position = prompt.size() + static_cast<std::size_t>(made);
      if (Status status = check_logits(logits, position); !status.ok()) return status;
      const std::int64_t token = sampler.pick(logits);
      at_end = options.ends.contains(token);
      if (at_end) break;
      if (Status status = sink.add(token); !status.ok()) return status;
      if (made + 1 < options.tokens) logits = model.take({&token, 1});
    }
    if (Status status = sink.end_sample(at_end); !status.ok()) return status;
  }
  return {};
}

Result<std::int64_t> tokens_to_make(std::int64_t prompt, std::optional<std::int64_t> asked,
                                    std::int64_t positions, const std::string& limit) {
  const std::int64_t room = positions - prompt;
  if (asked && *asked <= room) return *asked;
  if (!asked && room >= 1) return std::min(room, tokens_unasked_max);
  return Status::invalid("the prompt has " + std::to_string(prompt) + " tokens and --max-tokens asks for " +
                         std::to_string(asked.value_or(1)) + " more; " + limit + " allows " +
                         std::to_string(positions) + " together");
}

}  // namespace sidestep::daemon

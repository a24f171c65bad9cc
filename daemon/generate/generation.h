// Token after token out of a model: the prompt once, then one position for each new token.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "daemon/generate/language_model.h"
#include "daemon/generate/sampling.h"
#include "net/status.h"

namespace sidestep::daemon {

struct GenerationOptions {
  std::int64_t tokens = 0;  // new ones of a sample, at most
  std::int64_t samples = 1;
  Sampling sampling;
  std::uint64_t seed = 0;            // a sample's random numbers depend on it and on the sample's number
  std::set<std::int64_t> ends = {};  // a sample ends before the first of these
};

// Told of everything in order, by the thread that generates. A Status that is not ok ends the generation,
// which then returns it: how a signal stops one.
class GenerationSink {
 public:
  virtual ~GenerationSink() = default;
  virtual Status begin_sample(std::int64_t sample) = 0;
  virtual Status add(std::int64_t token) = 0;
  // `at_end`: the model ended it; else it has all the tokens that were asked for.
  virtual Status end_sample(bool at_end) = 0;
};

// Precondition: the prompt is not empty, and the model holds nothing and has room for the prompt and all new
// tokens. Errors: the sink's; logits that are not finite, with the position.
Status generate(LanguageModel& model, std::span<const std::int64_t> prompt, const GenerationOptions& options,
                GenerationSink& sink);

// How many tokens a sample may have: `asked`, or where nobody asked as many as there is room for, at most
// 256. Error: prompt and new tokens are more than `positions`, which `limit` names.
Result<std::int64_t> tokens_to_make(std::int64_t prompt, std::optional<std::int64_t> asked,
                                    std::int64_t positions, const std::string& limit);

}  // namespace sidestep::daemon

// How well a model predicts a file.
#pragma once

#include <cstdint>
#include <functional>

#include "daemon/data/dataset.h"
#include "daemon/generate/language_model.h"
#include "net/status.h"

namespace sidestep::daemon {

struct Perplexity {
  std::uint64_t tokens = 0;  // predicted
  double loss = 0;           // mean over them, nats
  double perplexity() const;
};

// Predicts every token of the file but its first, once: in windows of `sequence_length` tokens to predict
// from, as in training, each from those before it in its window. `on_window` is told how many of how many
// tokens are done; a Status of it that is not ok ends the measuring. Errors: that; a loss that is not finite,
// with its window. Precondition: the data has two tokens.
Result<Perplexity> measure_perplexity(
    LanguageModel& model, const Dataset& data, std::int64_t sequence_length,
    const std::function<Status(std::uint64_t done, std::uint64_t total)>& on_window);

}  // namespace sidestep::daemon

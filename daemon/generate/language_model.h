// What sampling and perplexity need of a model.
#pragma once

#include <cstdint>
#include <span>

namespace sidestep::daemon {

// Owner: whoever loaded it. Not thread-safe. It may throw std::exception when there is no memory.
class LanguageModel {
 public:
  virtual ~LanguageModel() = default;

  virtual std::int64_t vocab_size() const = 0;
  // Takes tokens in behind those that it holds; gives the logits of the token that follows, [vocab_size],
  // valid until the next call. Precondition: it holds none yet, or `tokens` is one token; it has room for
  // them.
  virtual std::span<const float> take(std::span<const std::int64_t> tokens) = 0;
  // Forgets all but the first `tokens` of those that it holds.
  virtual void rewind(std::int64_t tokens) = 0;
  // Sum over all tokens of `window` but the first of -log p(token | those before it in the window), nats.
  // Precondition: at least two tokens. What it holds does not matter and stays.
  virtual double score(std::span<const std::int64_t> window) = 0;
};

}  // namespace sidestep::daemon

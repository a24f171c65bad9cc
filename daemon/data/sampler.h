// Which tokens a microbatch holds. A pure function of (seed, step, microbatch, row): whoever asks, and
// whenever, gets the same tokens, so a microbatch can be run again anywhere. Value; any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "daemon/data/dataset.h"
#include "scheduler/job.h"

namespace sidestep::daemon {

// A keyed permutation of [0, size): a four-round Feistel network over the next even power of two, walked
// until it lands inside (Black and Rogaway 2002, "Ciphers with arbitrary finite domains").
// Precondition: size >= 1, value < size.
std::uint64_t permute(std::uint64_t key, std::uint64_t size, std::uint64_t value);

struct Sampler {
  std::uint64_t seed = 0;
  std::uint64_t sequence_length = 0;
  std::uint64_t microbatch_size = 0;  // sequences
  std::uint64_t microbatches_per_step = 0;
  std::uint64_t training_tokens = 0;    // at the beginning of the data
  std::uint64_t validation_tokens = 0;  // at its end
  std::uint64_t validation_microbatches = 0;

  Sampler(const scheduler::JobSpec& spec, const Dataset& dataset);
  Sampler() = default;

  // Sequences to train on: consecutive, with their targets one token further.
  std::uint64_t windows() const { return (training_tokens - 1) / sequence_length; }

  // First token of a row. Position p = ((step - 1) * microbatches_per_step + microbatch) * microbatch_size
  // + row counts sequences since the start of the job; epoch p / windows() takes every window once, in an
  // order of its own. Preconditions: step >= 1, microbatch and row within their bounds.
  std::uint64_t first_token(std::uint64_t step, std::uint64_t microbatch, std::uint64_t row) const;

  // First token of a row of a validation microbatch: spread evenly over the held-out part, the same at
  // every step.
  std::uint64_t first_validation_token(std::uint64_t microbatch, std::uint64_t row) const;

  // microbatch_size rows of sequence_length + 1 tokens: inputs are the first sequence_length of a row,
  // targets the last.
  std::vector<std::int64_t> read(const Dataset& dataset, std::uint64_t step, std::uint64_t microbatch,
                                 bool evaluation) const;
};

}  // namespace sidestep::daemon

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
  std::uint64_t validation_microbatches = 0;
  std::vector<DataPart> parts;  // at least one

  Sampler(const scheduler::JobSpec& spec, const Dataset& dataset);
  Sampler() = default;

  // Sequences of a file to train on: consecutive, with their targets one token further.
  std::uint64_t windows(std::size_t part) const { return (parts[part].training - 1) / sequence_length; }

  // Sequences are dealt out to the files evenly by weight: of any first n, a file with share w has w * n, to
  // less than one for each file. `index` is the sequence's number among those of its file.
  struct Turn {
    std::size_t part;
    std::uint64_t index;
  };
  Turn turn(std::uint64_t position) const;
  // How many of the first `count` sequences are of that file.
  std::uint64_t taken(std::size_t part, std::uint64_t count) const;

  // First token of a row. Position p = ((step - 1) * microbatches_per_step + microbatch) * microbatch_size
  // + row counts sequences since the start of the job; epoch turn(p).index / windows() of a file takes every
  // window of it once, in an order of its own. Preconditions: step >= 1, microbatch and row within their
  // bounds.
  std::uint64_t first_token(std::uint64_t step, std::uint64_t microbatch, std::uint64_t row) const;

  // First token of a row of a validation microbatch: dealt out likewise and spread evenly over a file's
  // held-out part, the same at every step.
  std::uint64_t first_validation_token(std::uint64_t microbatch, std::uint64_t row) const;

  // microbatch_size rows of sequence_length + 1 tokens: inputs are the first sequence_length of a row,
  // targets the last.
  std::vector<std::int64_t> read(const Dataset& dataset, std::uint64_t step, std::uint64_t microbatch,
                                 bool evaluation) const;
};

}  // namespace sidestep::daemon

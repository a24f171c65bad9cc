#include "daemon/data/sampler.h"

#include <bit>

#include "net/assert.h"
#include "net/random.h"

namespace sidestep::daemon {
namespace {

std::uint64_t mix(std::uint64_t a, std::uint64_t b) { return net::Random(net::Random(a).next() ^ b).next(); }

}  // namespace

std::uint64_t permute(std::uint64_t key, std::uint64_t size, std::uint64_t value) {
  SIDESTEP_ASSERT(value < size);
  if (size == 1) return 0;
  const int half_bits = (std::bit_width(size - 1) + 1) / 2;
  const std::uint64_t mask = (std::uint64_t{1} << half_bits) - 1;
  do {
    std::uint64_t left = value >> half_bits;
    std::uint64_t right = value & mask;
    for (std::uint64_t round = 0; round < 4; ++round) {
      const std::uint64_t mixed = left ^ (mix(key + round, right) & mask);
      left = right;
      right = mixed;
    }
    value = (left << half_bits) | right;
  } while (value >= size);
  return value;
}

Sampler::Sampler(const scheduler::JobSpec& spec, const Dataset& dataset)
    : seed(spec.seed),
      sequence_length(static_cast<std::uint64_t>(spec.data.sequence_length)),
      microbatch_size(static_cast<std::uint64_t>(spec.pipeline.microbatch_size)),
      microbatches_per_step(static_cast<std::uint64_t>(spec.pipeline.microbatches_per_step)),
      training_tokens(dataset.training_tokens()),
      validation_tokens(dataset.validation_tokens()),
      validation_microbatches(static_cast<std::uint64_t>(spec.validation.microbatches)) {}

std::uint64_t Sampler::first_token(std::uint64_t step, std::uint64_t microbatch, std::uint64_t row) const {
  SIDESTEP_ASSERT(step >= 1 && microbatch < microbatches_per_step && row < microbatch_size);
  const std::uint64_t position = ((step - 1) * microbatches_per_step + microbatch) * microbatch_size + row;
  const std::uint64_t epoch = position / windows();
  return permute(mix(seed, epoch), windows(), position % windows()) * sequence_length;
}

std::uint64_t Sampler::first_validation_token(std::uint64_t microbatch, std::uint64_t row) const {
  SIDESTEP_ASSERT(microbatch < validation_microbatches && row < microbatch_size);
  SIDESTEP_ASSERT(validation_tokens > sequence_length);
  const std::uint64_t rows = validation_microbatches * microbatch_size;
  const std::uint64_t spread = validation_tokens - sequence_length - 1;
  const std::uint64_t index = microbatch * microbatch_size + row;
  const auto offset = static_cast<std::uint64_t>(static_cast<double>(spread) * static_cast<double>(index) /
                                                 static_cast<double>(rows));
  return training_tokens + offset;
}

std::vector<std::int64_t> Sampler::read(const Dataset& dataset, std::uint64_t step, std::uint64_t microbatch,
                                        bool evaluation) const {
  const std::uint64_t length = sequence_length + 1;
  std::vector<std::int64_t> tokens(microbatch_size * length);
  for (std::uint64_t row = 0; row < microbatch_size; ++row) {
    const std::uint64_t first =
        evaluation ? first_validation_token(microbatch, row) : first_token(step, microbatch, row);
    dataset.read(first, std::span(tokens).subspan(row * length, length));
  }
  return tokens;
}

}  // namespace sidestep::daemon

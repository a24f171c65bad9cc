#include "daemon/data/sampler.h"

#include <bit>
#include <cmath>

#include "net/assert.h"
#include "net/random.h"

namespace sidestep::daemon {
namespace {

std::uint64_t mix(std::uint64_t a, std::uint64_t b) { return net::Random(net::Random(a).next() ^ b).next(); }

// floor(count * share / 2^32), without overflow.
std::uint64_t part_of(std::uint64_t count, std::uint64_t share) {
  return (count >> 32) * share + ((count & 0xffffffff) * share >> 32);
}

double total_weight(const std::vector<DataPart>& parts) {
  double sum = 0;
  for (const DataPart& part : parts) sum += part.weight;
  return sum;
}

// In units of 2^-32; rounded up, so that a share of n that is whole is taken in full.
std::uint64_t share_of(const DataPart& part, double weight_left) {
  return static_cast<std::uint64_t>(std::ceil(part.weight / weight_left * 0x1p32));
}

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
      validation_microbatches(static_cast<std::uint64_t>(spec.validation.microbatches)),
      parts(dataset.parts()) {}

// The first file takes its share, the second its share of what is left, and so on.
Sampler::Turn Sampler::turn(std::uint64_t position) const {
  double weight_left = total_weight(parts);
  for (std::size_t part = 0; part + 1 < parts.size(); ++part) {
    const std::uint64_t share = share_of(parts[part], weight_left);
    const std::uint64_t before = part_of(position, share);
    if (part_of(position + 1, share) > before) return {part, before};
    position -= before;
    weight_left -= parts[part].weight;
  }
  return {parts.size() - 1, position};
}

std::uint64_t Sampler::taken(std::size_t part, std::uint64_t count) const {
  double weight_left = total_weight(parts);
  for (std::size_t earlier = 0; earlier < part; ++earlier) {
    count -= part_of(count, share_of(parts[earlier], weight_left));
    weight_left -= parts[earlier].weight;
  }
  return part + 1 == parts.size() ? count : part_of(count, share_of(parts[part], weight_left));
}

std::uint64_t Sampler::first_token(std::uint64_t step, std::uint64_t microbatch, std::uint64_t row) const {
  SIDESTEP_ASSERT(step >= 1 && microbatch < microbatches_per_step && row < microbatch_size);
  const auto [part, index] = turn(((step - 1) * microbatches_per_step + microbatch) * microbatch_size + row);
  // The first file has the order that it would have alone.
  const std::uint64_t key = mix(part == 0 ? seed : mix(seed, ~part), index / windows(part));
  return parts[part].first + permute(key, windows(part), index % windows(part)) * sequence_length;
}

std::uint64_t Sampler::first_validation_token(std::uint64_t microbatch, std::uint64_t row) const {
  SIDESTEP_ASSERT(microbatch < validation_microbatches && row < microbatch_size);
  const std::uint64_t rows = validation_microbatches * microbatch_size;
  const auto [part, index] = turn(microbatch * microbatch_size + row);
  SIDESTEP_ASSERT(parts[part].validation > sequence_length);
  const std::uint64_t spread = parts[part].validation - sequence_length - 1;
  const auto offset = static_cast<std::uint64_t>(static_cast<double>(spread) * static_cast<double>(index) /
                                                 static_cast<double>(taken(part, rows)));
  return parts[part].first + parts[part].training + offset;
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

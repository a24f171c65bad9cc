// Small jobs and random tensors for the tests of the model.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "daemon/model/stage.h"
#include "scheduler/job.h"

namespace sidestep::daemon::testing {

inline scheduler::JobSpec small_job(std::int64_t stages = 1, std::int64_t layers = 4) {
  scheduler::JobSpec spec;
  spec.name = "small";
  spec.model.vocab_size = 29;
  spec.model.hidden_size = 32;
  spec.model.intermediate_size = 48;
  spec.model.num_hidden_layers = layers;
  spec.model.num_attention_heads = 4;
  spec.model.num_key_value_heads = 2;
  spec.model.head_dim = 8;
  spec.model.max_position_embeddings = 12;
  spec.model.initializer_range = 0.2;  // large, so that every path carries something
  spec.pipeline.stages = stages;
  spec.pipeline.microbatches_per_step = 4;
  spec.pipeline.microbatch_size = 3;
  spec.data.sequence_length = 12;
  spec.optimizer.learning_rate = 1e-2;
  spec.steps = 10;
  spec.seed = 5;
  return spec;
}

inline at::Tensor random_tokens(const scheduler::JobSpec& spec, std::uint64_t seed) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  return at::randint(0, spec.model.vocab_size, {spec.pipeline.microbatch_size, spec.data.sequence_length + 1},
                     generator, at::TensorOptions().dtype(at::kLong));
}

inline at::Tensor inputs_of(const at::Tensor& tokens) {
  return tokens.narrow(1, 0, tokens.size(1) - 1).contiguous();
}
inline at::Tensor targets_of(const at::Tensor& tokens) { return tokens.narrow(1, 1, tokens.size(1) - 1); }

inline at::Tensor random_normal(at::IntArrayRef shape, std::uint64_t seed, at::ScalarType type = at::kFloat) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  return at::randn(shape, generator, at::TensorOptions().dtype(at::kDouble)).to(type);
}

// Largest difference, relative to the largest value.
inline double difference(const at::Tensor& a, const at::Tensor& b) {
  const double scale = b.to(at::kDouble).abs().max().item<double>();
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>() / (scale > 0 ? scale : 1);
}

}  // namespace sidestep::daemon::testing

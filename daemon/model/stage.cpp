#include "daemon/model/stage.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "daemon/model/matmul.h"
#include "net/assert.h"

namespace sidestep::daemon {
namespace {

// Logits of one piece of a microbatch take at most this many elements: 64 MiB in float32, on a GPU, which
// wants large products, 256 MiB.
std::int64_t logits_elements_max(at::Device device) { return device.is_cuda() ? 1 << 26 : 1 << 24; }

}  // namespace

Stage::Stage(const scheduler::JobSpec& spec, std::int64_t stage, const StageOptions& options)
    : model_(spec.model),
      options_(options),
      first_(stage == 0),
      first_layer_(spec.first_layer(stage)),
      layer_count_(spec.layer_count(stage)),
      layout_(ParameterLayout::of_stage(spec, stage)) {
  const auto master = at::TensorOptions().dtype(options.master).device(options.device);
  weights_ = at::empty({layout_.elements}, master);
  initialize(layout_, spec.seed, model_.initializer_range, weights_);
  gradient_ = at::zeros({layout_.elements}, master);
  compute_matrices_ = options.compute == options.master
                          ? weights_
                          : at::empty({layout_.matrix_elements}, master.dtype(options.compute));
  for (std::int64_t layer = first_layer_; layer < first_layer_ + layer_count_; ++layer) {
    layer_weights_.push_back(layer_views(model_, layout_, layer, compute_matrices_, weights_));
    layer_gradients_.push_back(layer_views(model_, layout_, layer, gradient_, gradient_));
  }
  if (first_) {
    edge_weights_ = edge_views(model_, layout_, compute_matrices_, weights_);
    edge_gradients_ = edge_views(model_, layout_, gradient_, gradient_);
  }
  rotation_ = kernels::make_rotation(spec.data.sequence_length, model_.head_dim, model_.rope_theta,
                                     options.master, options.device);
  weights_changed();
}

void Stage::weights_changed() {
  if (!compute_matrices_.is_same(weights_))
    compute_matrices_.copy_(weights_.narrow(0, 0, layout_.matrix_elements));
}

at::Tensor Stage::embed(const at::Tensor& tokens) const {
  return at::embedding(edge_weights_.embedding, tokens.view({-1}));
}

at::Tensor Stage::run_layers(const at::Tensor& rows, std::int64_t batch, std::int64_t positions,
                             std::vector<LayerActivations>* kept) {
  at::Tensor x = rows;
  for (std::int64_t i = 0; i < layer_count_; ++i) {
    LayerActivations* slot = kept != nullptr ? &kept->emplace_back() : nullptr;
    x = layer_forward(context(batch, positions), layer_weights_[static_cast<std::size_t>(i)], x, slot);
  }
  return x;
}

at::Tensor Stage::forward(const at::Tensor& input, StageActivations* kept, bool recompute) {
  const std::int64_t batch = input.size(0);
  const std::int64_t positions = input.size(1);
  const bool saves = kept != nullptr && !recompute;
  if (kept != nullptr) *kept = {.input = input, .layers = {}, .recompute = recompute};
  const at::Tensor rows = first_ ? embed(input) : input.view({batch * positions, model_.hidden_size});
  return run_layers(rows, batch, positions, saves ? &kept->layers : nullptr)
      .view({batch, positions, model_.hidden_size});
}

at::Tensor Stage::backward(StageActivations& kept, const at::Tensor& gradient, bool accumulate) {
  if (first_ && !accumulate) {
    kept = {};
    return {};
  }
  const std::int64_t batch = kept.input.size(0);
  const std::int64_t positions = kept.input.size(1);
  if (kept.recompute) {
    const at::Tensor rows =
        first_ ? embed(kept.input) : kept.input.view({batch * positions, model_.hidden_size});
    run_layers(rows, batch, positions, &kept.layers);
  }
  SIDESTEP_ASSERT(std::ssize(kept.layers) == layer_count_);

  at::Tensor by_rows = gradient.view({batch * positions, model_.hidden_size});
  for (std::int64_t i = layer_count_; i-- > 0;) {
    const auto index = static_cast<std::size_t>(i);
    by_rows = layer_backward(context(batch, positions), layer_weights_[index], kept.layers[index], by_rows,
                             accumulate ? &layer_gradients_[index] : nullptr);
  }
  if (!first_) {
    kept = {};
    return by_rows.view({batch, positions, model_.hidden_size});
  }
  edge_gradients_.embedding.index_add_(0, kept.input.view({-1}), by_rows.to(options_.master));
  kept = {};
  return {};
}

HeadResult Stage::head(const at::Tensor& input, const at::Tensor& targets, bool with_gradient,
                       bool accumulate) {
  SIDESTEP_ASSERT(first_);
  const at::Tensor rows = input.view({-1, model_.hidden_size});
  const at::Tensor wanted = targets.reshape({-1});
  const std::int64_t count = rows.size(0);
  const double scale = with_gradient ? 1.0 / static_cast<double>(count) : 0;
  const bool adds = with_gradient && accumulate;
  const kernels::Normed normed = kernels::rms_norm(rows, edge_weights_.norm, model_.rms_norm_eps);

  std::vector<at::Tensor> by_parts;
  at::Tensor loss;  // read once, at the end: reading waits for a GPU
  const std::int64_t piece =
      std::max<std::int64_t>(1, logits_elements_max(options_.device) / model_.vocab_size);
  for (std::int64_t first = 0; first < count; first += piece) {
    const std::int64_t length = std::min(piece, count - first);
    const at::Tensor part = normed.output.narrow(0, first, length);
    at::Tensor logits = multiply_to(options_.master, part, edge_weights_.head);
    const auto [sum, by_logits] =
        kernels::cross_entropy_(logits, wanted.narrow(0, first, length), scale, options_.compute);
    loss = loss.defined() ? loss.add(sum) : sum;
    if (!with_gradient) continue;
    by_parts.push_back(multiply(by_logits, edge_weights_.head.t()));
    if (adds) add_weight_gradient(edge_gradients_.head, by_logits, part);
  }

  HeadResult result;
  const auto read_loss = [&] { return loss.item().toDouble() / static_cast<double>(count); };
  if (!with_gradient) {
    result.loss = read_loss();
    return result;
  }
  const at::Tensor by_normed = by_parts.size() == 1 ? by_parts.front() : at::cat(by_parts);
  result.gradient = kernels::rms_norm_backward(by_normed, rows, normed.inverse_rms, edge_weights_.norm, {},
                                               adds ? edge_gradients_.norm : at::Tensor())
                        .view(input.sizes());
  result.loss = read_loss();
  return result;
}

at::Tensor Stage::logits(const at::Tensor& input) const {
  SIDESTEP_ASSERT(first_);
  const kernels::Normed normed =
      kernels::rms_norm(input.reshape({-1, model_.hidden_size}), edge_weights_.norm, model_.rms_norm_eps);
  return multiply_to(options_.master, normed.output, edge_weights_.head)
      .view({input.size(0), input.size(1), model_.vocab_size});
}

}  // namespace sidestep::daemon

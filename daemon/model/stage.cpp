#include "daemon/model/stage.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <tuple>

#include "daemon/model/matmul.h"
#include "net/assert.h"
#include "scheduler/logits.h"

namespace sidestep::daemon {

at::ScalarType compute_type(const scheduler::JobSpec& spec) {
  return spec.precision == "bfloat16" ? at::kBFloat16 : at::kFloat;
}

Stage::Stage(const scheduler::JobSpec& spec, std::int64_t stage, const StageOptions& options)
    : model_(spec.model),
      options_(options),
      first_(stage == 0),
      first_layer_(spec.first_layer(stage)),
      layer_count_(spec.layer_count(stage)),
      layout_(ParameterLayout::of_stage(spec, stage)) {
  const auto master = at::TensorOptions().dtype(options.master).device(options.device);
  const bool converts = options.compute != options.master;
  if (options.trains) {
    weights_ = at::empty({layout_.elements}, master);
    gradient_ = at::zeros({layout_.elements}, master);
    std::tie(matrices_, norms_) = parts_of(weights_, layout_);
  } else {
    norms_ = at::empty({layout_.elements - layout_.matrix_elements}, master);
  }
  if (converts || !options.trains)
    matrices_ = at::empty({layout_.matrix_elements}, master.dtype(options.compute));
  if (options.first_weights == FirstWeights::seed) {
    SIDESTEP_ASSERT(options.trains);
    initialize(layout_, spec.seed, model_.initializer_range, weights_);
  }
  for (std::int64_t layer = first_layer_; layer < first_layer_ + layer_count_; ++layer)
    layer_weights_.push_back(layer_views(model_, layout_, layer, matrices_, norms_));
  if (first_) edge_weights_ = edge_views(model_, layout_, matrices_, norms_);
  if (options.trains) {
    const auto [matrices, norms] = parts_of(gradient_, layout_);
    for (std::int64_t layer = first_layer_; layer < first_layer_ + layer_count_; ++layer)
      layer_gradients_.push_back(layer_views(model_, layout_, layer, matrices, norms));
    if (first_) edge_gradients_ = edge_views(model_, layout_, matrices, norms);
  }
  rotation_ = kernels::make_rotation(spec.data.sequence_length, model_.head_dim, model_.rope_theta,
                                     options.master, options.device);
  if (options.first_weights == FirstWeights::seed) weights_changed();
}

void Stage::weights_changed() {
  if (options_.trains && options_.compute != options_.master)
    matrices_.copy_(parts_of(weights_, layout_).first);
}

at::Tensor Stage::weight(const Parameter& parameter) {
  if (options_.trains) return view_of(weights_, parameter);
  return parameter.is_norm() ? norm_view(norms_, layout_, parameter) : view_of(matrices_, parameter);
}

at::Tensor Stage::rows_of(const at::Tensor& input) const {
  return first_ ? at::embedding(edge_weights_.embedding, input.view({-1}))
                : input.view({-1, model_.hidden_size});
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
  return run_layers(rows_of(input), batch, positions, saves ? &kept->layers : nullptr)
      .view({batch, positions, model_.hidden_size});
}

StageCache Stage::make_cache(std::int64_t batch, std::int64_t positions) const {
  const std::vector<std::int64_t> shape{batch, positions, model_.num_key_value_heads, model_.head_dim};
  const auto options = at::TensorOptions().dtype(options_.compute).device(options_.device);
  StageCache cache;
  for (std::int64_t i = 0; i < layer_count_; ++i)
    cache.layers.push_back({at::empty(shape, options), at::empty(shape, options)});
  return cache;
}

at::Tensor Stage::extend(const at::Tensor& input, StageCache& cache) {
  const std::int64_t batch = input.size(0);
  const std::int64_t positions = input.size(1);
  SIDESTEP_ASSERT(cache.positions == 0 || positions == 1);
  SIDESTEP_ASSERT(cache.positions + positions <= rotation_.cosine.size(0));
  const kernels::Rotation rotation{rotation_.cosine.narrow(0, cache.positions, positions),
                                   rotation_.sine.narrow(0, cache.positions, positions)};
  const LayerContext layer_context{model_, rotation, batch, positions};
  at::Tensor x = rows_of(input);
  for (std::size_t i = 0; i < layer_weights_.size(); ++i)
    x = layer_extend(layer_context, layer_weights_[i], x, cache.layers[i], cache.positions);
  cache.positions += positions;
  return x.view({batch, positions, model_.hidden_size});
}

at::Tensor Stage::backward(StageActivations& kept, const at::Tensor& gradient, bool accumulate) {
  if (first_ && !accumulate) {
    kept = {};
    return {};
  }
  const std::int64_t batch = kept.input.size(0);
  const std::int64_t positions = kept.input.size(1);
  if (kept.recompute) {
    run_layers(rows_of(kept.input), batch, positions, &kept.layers);
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
  SIDESTEP_ASSERT(first_ && (options_.trains || !with_gradient));
  const at::Tensor rows = input.view({-1, model_.hidden_size});
  const at::Tensor wanted = targets.reshape({-1});
  const std::int64_t count = rows.size(0);
  const double scale = with_gradient ? 1.0 / static_cast<double>(count) : 0;
  const bool adds = with_gradient && accumulate;
  const kernels::Normed normed = kernels::rms_norm(rows, edge_weights_.norm, model_.rms_norm_eps);

  std::vector<at::Tensor> by_parts;
  at::Tensor loss;  // read once, at the end: reading waits for a GPU
  const std::int64_t piece = std::max<std::int64_t>(1, scheduler::logits_elements_max / model_.vocab_size);
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

#include "daemon/model/layer.h"

#include <ATen/ops/empty_like.h>

#include "daemon/model/matmul.h"

namespace sidestep::daemon {
namespace {

// Views of [batch, positions, heads + 2 kv_heads, head_dim] as attention takes them.
struct Heads {
  at::Tensor query, key, value;  // [batch, heads, positions, head_dim]
};

Heads split(const scheduler::ModelSpec& model, const at::Tensor& qkv) {
  const std::int64_t queries = model.num_attention_heads;
  const std::int64_t keys = model.num_key_value_heads;
  return {.query = qkv.narrow(2, 0, queries).transpose(1, 2),
          .key = qkv.narrow(2, queries, keys).transpose(1, 2),
          .value = qkv.narrow(2, queries + keys, keys).transpose(1, 2)};
}

// The heads that carry positions: queries and keys.
at::Tensor rotated_part(const scheduler::ModelSpec& model, const at::Tensor& qkv) {
  return qkv.narrow(2, 0, model.num_attention_heads + model.num_key_value_heads);
}

// [batch, heads, positions, head_dim] as [n, heads * head_dim]; attention gives it in this order already.
at::Tensor rows_of(const at::Tensor& heads) {
  return heads.transpose(1, 2).reshape({heads.size(0) * heads.size(2), heads.size(1) * heads.size(3)});
}

// The layer up to its attention: `made.qkv`, rotated, and what comes before it.
void project(const LayerContext& context, const LayerTensors& weights, const at::Tensor& input,
             LayerActivations& made) {
  const scheduler::ModelSpec& model = context.model;
  made.input = input;
  made.input_normed = kernels::rms_norm(input, weights.input_norm, model.rms_norm_eps);
  made.qkv = multiply(made.input_normed.output, weights.qkv)
                 .view({context.batch, context.positions,
                        model.num_attention_heads + 2 * model.num_key_value_heads, model.head_dim});
  kernels::rotate_(rotated_part(model, made.qkv), context.rotation, /*inverse=*/false);
}

// The layer behind its attention; gives its output.
at::Tensor finish(const LayerContext& context, const LayerTensors& weights, LayerActivations& made) {
  made.middle = multiply(rows_of(made.attention.output), weights.output).add_(made.input);
  made.middle_normed = kernels::rms_norm(made.middle, weights.attention_norm, context.model.rms_norm_eps);
  made.gate_up = multiply(made.middle_normed.output, weights.gate_up);
  return multiply(kernels::swiglu(made.gate_up), weights.down).add_(made.middle);
}

}  // namespace

at::Tensor layer_forward(const LayerContext& context, const LayerTensors& weights, const at::Tensor& input,
                         LayerActivations* kept) {
  LayerActivations made;
  project(context, weights, input, made);
  const Heads heads = split(context.model, made.qkv);
  made.attention = attention(heads.query, heads.key, heads.value, Mask::causal);
  at::Tensor output = finish(context, weights, made);
  if (kept != nullptr) *kept = std::move(made);
  return output;
}

at::Tensor layer_extend(const LayerContext& context, const LayerTensors& weights, const at::Tensor& input,
                        LayerCache& cache, std::int64_t seen) {
  LayerActivations made;
  project(context, weights, input, made);
  const Heads heads = split(context.model, made.qkv);
  cache.keys.narrow(1, seen, context.positions).copy_(heads.key.transpose(1, 2));
  cache.values.narrow(1, seen, context.positions).copy_(heads.value.transpose(1, 2));
  // The one newest position sees all; the first ones see what is before them.
  const std::int64_t known = seen + context.positions;
  made.attention =
      attention(heads.query, cache.keys.narrow(1, 0, known).transpose(1, 2),
                cache.values.narrow(1, 0, known).transpose(1, 2), seen == 0 ? Mask::causal : Mask::none);
  return finish(context, weights, made);
}

at::Tensor layer_backward(const LayerContext& context, const LayerTensors& weights, LayerActivations& kept,
                          const at::Tensor& gradient, LayerTensors* gradients) {
  const scheduler::ModelSpec& model = context.model;
  const at::Tensor nothing;

  kernels::SwigluGradient mlp = kernels::swiglu_backward(multiply(gradient, weights.down.t()), kept.gate_up);
  kept.gate_up.reset();
  if (gradients != nullptr) {
    add_weight_gradient(gradients->down, gradient, mlp.activation);
    add_weight_gradient(gradients->gate_up, mlp.gate_up, kept.middle_normed.output);
  }
  kept.middle_normed.output.reset();
  const at::Tensor by_middle = kernels::rms_norm_backward(
      multiply(mlp.gate_up, weights.gate_up.t()), kept.middle, kept.middle_normed.inverse_rms,
      weights.attention_norm, gradient, gradients != nullptr ? gradients->attention_norm : nothing);
  mlp = {};
  kept.middle.reset();

  if (gradients != nullptr) add_weight_gradient(gradients->output, by_middle, rows_of(kept.attention.output));
  const at::Tensor by_attention =
      multiply(by_middle, weights.output.t())
          .view({context.batch, context.positions, model.num_attention_heads, model.head_dim})
          .transpose(1, 2);
  const Heads heads = split(model, kept.qkv);
  const AttentionGradient by_heads =
      attention_backward(by_attention, heads.query, heads.key, heads.value, kept.attention);
  kept.attention = {};
  at::Tensor by_qkv = at::empty_like(kept.qkv);
  const Heads parts = split(model, by_qkv);
  parts.query.copy_(by_heads.query);
  parts.key.copy_(by_heads.key);
  parts.value.copy_(by_heads.value);
  kernels::rotate_(rotated_part(model, by_qkv), context.rotation, /*inverse=*/true);
  by_qkv = by_qkv.view({context.batch * context.positions, -1});
  if (gradients != nullptr) add_weight_gradient(gradients->qkv, by_qkv, kept.input_normed.output);
  at::Tensor by_input = kernels::rms_norm_backward(
      multiply(by_qkv, weights.qkv.t()), kept.input, kept.input_normed.inverse_rms, weights.input_norm,
      by_middle, gradients != nullptr ? gradients->input_norm : nothing);
  kept = {};
  return by_input;
}

}  // namespace sidestep::daemon

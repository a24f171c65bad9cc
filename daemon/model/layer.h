// One decoder layer of Hugging Face's LlamaDecoderLayer: x + attention(norm(x)), then x + mlp(norm(x)).
// The gradient is written out, not recorded: it adds straight into the flat accumulator and keeps exactly
// the tensors of LayerActivations.
#pragma once

#include <ATen/core/Tensor.h>

#include "daemon/model/attention.h"
#include "daemon/model/kernels.h"
#include "daemon/model/parameters.h"

namespace sidestep::daemon {

// What a forward keeps for its backward; n = batch * positions.
struct LayerActivations {
  at::Tensor input;               // [n, hidden]
  kernels::Normed input_normed;   // [n, hidden]
  at::Tensor qkv;                 // [batch, positions, heads + 2 kv_heads, head_dim], rotated
  AttentionOutput attention;      // [batch, heads, positions, head_dim]
  at::Tensor middle;              // [n, hidden]: after attention
  kernels::Normed middle_normed;  // [n, hidden]
  at::Tensor gate_up;             // [n, 2 * intermediate]
};

// What every layer of a stage shares. Matrices of `weights` are of the type of the activations.
struct LayerContext {
  const scheduler::ModelSpec& model;
  const kernels::Rotation& rotation;
  std::int64_t batch = 0;
  std::int64_t positions = 0;
};

// input: [batch * positions, hidden], contiguous. Fills `kept` unless it is null.
at::Tensor layer_forward(const LayerContext& context, const LayerTensors& weights, const at::Tensor& input,
                         LayerActivations* kept);

// Keys and values of the positions that a layer has seen.
struct LayerCache {
  at::Tensor keys, values;  // [batch, room, kv_heads, head_dim], of the type of the activations
};

// layer_forward of the positions behind the first `seen` ones of the cache, which takes them in. `seen` is 0,
// or there is one position; the context's rotation is theirs.
at::Tensor layer_extend(const LayerContext& context, const LayerTensors& weights, const at::Tensor& input,
                        LayerCache& cache, std::int64_t seen);

// Gradient by the layer's input. Adds the weights' gradients to `gradients` unless it is null.
// Frees what it no longer needs of `kept` on the way.
at::Tensor layer_backward(const LayerContext& context, const LayerTensors& weights, LayerActivations& kept,
                          const at::Tensor& gradient, LayerTensors* gradients);

}  // namespace sidestep::daemon

// Attention, softmax(q kᵀ / sqrt(head_dim)) v, through ATen's flash attention on the CPU and, in
// bfloat16, on a GPU of compute capability 8.0 or more, composed of ATen's operators otherwise
// (attention_composed.h): nothing of the size positions x positions is kept. Called without autograd.
#pragma once

#include <ATen/core/Tensor.h>

namespace sidestep::daemon {

struct AttentionOutput {
  at::Tensor output;     // [batch, heads, positions, head_dim]; its transpose(1, 2) is contiguous
  at::Tensor logsumexp;  // [batch, heads, positions], kept for the gradient
  // What the GPU's kernel draws dropout from, which there is none of; its gradient wants them back.
  at::Tensor random_seed, random_offset;
};

struct AttentionGradient {
  at::Tensor query, key, value;
};

enum class Mask {
  causal,  // a position sees itself and those before it; as many keys as queries
  none,    // every query sees every key
};

// query: [batch, heads, positions, head_dim]; key, value: [batch, kv_heads, positions, head_dim], where
// heads is a multiple of kv_heads: query head h reads key head h / (heads / kv_heads). Strided views are fine
// as long as the last dimension is contiguous.
AttentionOutput attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, Mask mask);

// Of causal attention.
AttentionGradient attention_backward(const at::Tensor& gradient, const at::Tensor& query,
                                     const at::Tensor& key, const at::Tensor& value,
                                     const AttentionOutput& forward);

}  // namespace sidestep::daemon

// The arithmetic of a decoder layer between its matrix products, each with its gradient. Inputs and
// outputs are float32 or bfloat16 (float64 in tests), reductions and norms are computed in float32 (or
// float64). On the CPU float32 and bfloat16 run in one pass over memory (kernels_cpu.h); on a GPU norms are
// ATen's fused ones and the rest is composed of ATen's operators, as is everything in float64
// (kernels_composed.h). Every function is called without autograd; it never writes into an input unless its
// name ends in an underscore. Nothing waits for a GPU but sum_of_squares. Results do not depend on the number
// of threads.
#pragma once

#include <ATen/core/Tensor.h>

namespace sidestep::daemon::kernels {

struct Normed {
  at::Tensor output;       // [n, hidden], type of x
  at::Tensor inverse_rms;  // [n, 1], float32 or float64: 1 / sqrt(mean(x²) + eps)
};

// y = weight * x * inverse_rms (Zhang and Sennrich 2019). x: [n, hidden], contiguous; weight: [hidden].
Normed rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

// Gradient by x, plus `residual` (same shape as x) where defined. Adds the gradient by the weight to
// `weight_gradient` where defined.
at::Tensor rms_norm_backward(const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& inverse_rms,
                             const at::Tensor& weight, const at::Tensor& residual,
                             at::Tensor weight_gradient);

struct Rotation {
  at::Tensor cosine;  // [positions, head_dim / 2], float32 or float64
  at::Tensor sine;
};

// Angles position * theta^(-2i / head_dim), in float32 as Hugging Face's LlamaRotaryEmbedding computes them.
Rotation make_rotation(std::int64_t positions, std::int64_t head_dim, double theta, at::ScalarType type,
                       at::Device device);

// Rotates each head's pairs (i, i + head_dim / 2) by the angle of its position, of which `rotation` has at
// least as many (Su and others 2021, in Hugging Face's order, "rotate_half"); `inverse` turns back, which is
// also the gradient. heads: [batch, positions, n, head_dim], a view whose last two dimensions are contiguous.
void rotate_(at::Tensor heads, const Rotation& rotation, bool inverse);

// silu(gate) * up; gate_up: [n, 2 * width], gate first. Gives [n, width].
at::Tensor swiglu(const at::Tensor& gate_up);

struct SwigluGradient {
  at::Tensor activation;  // [n, width]: swiglu(gate_up) again
  at::Tensor gate_up;     // [n, 2 * width]
};
SwigluGradient swiglu_backward(const at::Tensor& gradient, const at::Tensor& gate_up);

struct CrossEntropy {
  at::Tensor loss;      // sum over rows of -log softmax(logits)[target], nats: float64, no dimension
  at::Tensor gradient;  // [n, vocab]: (softmax - onehot(target)) * gradient_scale; undefined if that is 0
};

// logits: [n, vocab], on the device of the results; their memory may become the gradient's. targets: [n]
// int64. The gradient is of type `type`.
CrossEntropy cross_entropy_(at::Tensor logits, const at::Tensor& targets, double gradient_scale,
                            at::ScalarType type);

// Sum of squares of a flat float32 tensor: summed in float64 on the CPU, to about 1e-6 on a GPU.
double sum_of_squares(const at::Tensor& values);

}  // namespace sidestep::daemon::kernels

// Matrix products of a layer. float32 on the CPU goes to oneDNN's kernels where LibTorch has them, which on
// AVX-512 machines of some makers are two to three times as fast as the library behind at::mm; every other
// type and device goes to at::mm. Called without autograd.
#pragma once

#include <ATen/core/Tensor.h>

namespace sidestep::daemon {

// a · bᵀ. a: [n, k], b: [m, k], gives [n, m]. Any of them may be a transposed view.
at::Tensor multiply(const at::Tensor& a, const at::Tensor& b);

// The same in `type`, which is at least as wide as that of a and b; a GPU rounds nothing in between.
at::Tensor multiply_to(at::ScalarType type, const at::Tensor& a, const at::Tensor& b);

// sum += gradientᵀ · input: a weight's gradient; a GPU rounds only the sum. sum: [out, in], its type at least
// as wide as the others'; gradient: [n, out]; input: [n, in].
void add_weight_gradient(at::Tensor& sum, const at::Tensor& gradient, const at::Tensor& input);

}  // namespace sidestep::daemon

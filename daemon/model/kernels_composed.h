// The kernels of kernels.h composed of ATen's operators: for any device and any floating type. The functions
// are those of kernels.h, with the same contracts; kernels.cpp says where each is used.
#pragma once

#include <ATen/core/Tensor.h>

#include "daemon/model/kernels.h"

namespace sidestep::daemon::kernels_composed {

kernels::Normed rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);
at::Tensor rms_norm_backward(const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& inverse_rms,
                             const at::Tensor& weight, const at::Tensor& residual,
                             at::Tensor weight_gradient);
void rotate_(at::Tensor heads, const kernels::Rotation& rotation, bool inverse);
at::Tensor swiglu(const at::Tensor& gate_up);
kernels::SwigluGradient swiglu_backward(const at::Tensor& gradient, const at::Tensor& gate_up);
kernels::CrossEntropy cross_entropy_(at::Tensor logits, const at::Tensor& targets, double gradient_scale,
                                     at::ScalarType type);

}  // namespace sidestep::daemon::kernels_composed

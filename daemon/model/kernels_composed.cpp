#include "daemon/model/kernels_composed.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_log_softmax.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/expm1.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>

namespace sidestep::daemon::kernels_composed {

using kernels::CrossEntropy;
using kernels::Normed;
using kernels::Rotation;
using kernels::SwigluGradient;

namespace {

at::Tensor widened(const at::Tensor& x) { return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat); }

}  // namespace

Normed rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = widened(x);
  const at::Tensor inverse = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps);
  return {(weight * (wide * inverse)).to(x.scalar_type()), inverse};
}

at::Tensor rms_norm_backward(const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& inverse_rms,
                             const at::Tensor& weight, const at::Tensor& residual,
                             at::Tensor weight_gradient) {
  const at::Tensor normed = widened(x) * inverse_rms;
  const at::Tensor wide = widened(gradient);
  const at::Tensor weighted = wide * weight;
  at::Tensor by_x = inverse_rms * (weighted - normed * (weighted * normed).mean(-1, /*keepdim=*/true));
  if (residual.defined()) by_x += residual;
  if (weight_gradient.defined()) weight_gradient += (wide * normed).sum(0);
  return by_x.to(x.scalar_type());
}

// Products with the cosines are as wide as those; only the sums are rounded.
void rotate_(at::Tensor heads, const Rotation& rotation, bool inverse) {
  const std::int64_t half = heads.size(3) / 2;
  const at::Tensor cosine = rotation.cosine.narrow(0, 0, heads.size(1)).unsqueeze(1);
  const at::Tensor sine = rotation.sine.narrow(0, 0, heads.size(1)).unsqueeze(1);
  const double sign = inverse ? -1 : 1;
  at::Tensor first = heads.narrow(3, 0, half);
  at::Tensor second = heads.narrow(3, half, half);
  const at::Tensor first_part = first * cosine;
  const at::Tensor before = second.clone();
  at::addcmul_out(second, before * cosine, first, sine, sign);
  at::addcmul_out(first, first_part, before, sine, -sign);
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  const std::int64_t width = gate_up.size(1) / 2;
  return at::silu(gate_up.narrow(1, 0, width)).mul_(gate_up.narrow(1, width, width));
}

SwigluGradient swiglu_backward(const at::Tensor& gradient, const at::Tensor& gate_up) {
  const std::int64_t width = gate_up.size(1) / 2;
  const at::Tensor gate = gate_up.narrow(1, 0, width);
  const at::Tensor up = gate_up.narrow(1, width, width);
  const at::Tensor by_gate_up = at::empty_like(gate_up);
  at::Tensor by_gate = by_gate_up.narrow(1, 0, width);
  at::Tensor by_up = by_gate_up.narrow(1, width, width);
  at::Tensor silu = at::silu(gate);
  at::mul_out(by_up, gradient, silu);
  at::silu_backward_out(by_gate, gradient * up, gate);
  return {silu.mul_(up), by_gate_up};
}

CrossEntropy cross_entropy_(at::Tensor logits, const at::Tensor& targets, double gradient_scale,
                            at::ScalarType type) {
  const at::Tensor log_probability = at::_log_softmax(logits, 1, /*half_to_float=*/false);
  const at::Tensor columns = targets.unsqueeze(1);
  const at::Tensor picked = log_probability.gather(1, columns);
  CrossEntropy result{picked.sum(at::kDouble).neg_(), {}};
  if (gradient_scale == 0) return result;
  // Straight into the type wanted; the targets' own, where 1 is taken off, before they are rounded.
  result.gradient =
      type == logits.scalar_type() ? logits : at::empty(logits.sizes(), logits.options().dtype(type));
  at::exp_out(result.gradient, log_probability);
  result.gradient.scatter_(1, columns, at::expm1(picked).to(type)).mul_(gradient_scale);
  return result;
}

}  // namespace sidestep::daemon::kernels_composed

#include "daemon/model/kernels.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_fused_rms_norm.h>
#include <ATen/ops/_fused_rms_norm_backward.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/scalar_tensor.h>

#include "daemon/model/kernels_composed.h"
#include "daemon/model/kernels_cpu.h"

namespace sidestep::daemon::kernels {
namespace {

// float32 and bfloat16 on the CPU go to kernels_cpu.
bool runs_on_cpu(const at::Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

at::ScalarType accumulation_type(at::ScalarType type) {
  return type == at::kDouble ? at::kDouble : at::kFloat;
}

// Calls run with a null pointer of the element type that kernels_cpu knows this tensor's type by.
template <class Run>
void with_element(const at::Tensor& x, const Run& run) {
  if (x.scalar_type() == at::kFloat)
    run(static_cast<float*>(nullptr));
  else
    run(static_cast<std::uint16_t*>(nullptr));
}

template <class Element>
const Element* input(const at::Tensor& tensor, Element*) {
  return tensor.defined() ? static_cast<const Element*>(tensor.const_data_ptr()) : nullptr;
}
template <class Element>
Element* output(const at::Tensor& tensor, Element*) {
  return static_cast<Element*>(tensor.mutable_data_ptr());
}
const float* floats(const at::Tensor& tensor) { return tensor.const_data_ptr<float>(); }

}  // namespace

Normed rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (x.is_cuda()) {
    // Takes the weight in x's type only.
    auto [output, inverse_rms] = at::_fused_rms_norm(x, {x.size(1)}, weight.to(x.scalar_type()), eps);
    return {std::move(output), std::move(inverse_rms)};
  }
  if (!runs_on_cpu(x)) return kernels_composed::rms_norm(x, weight, eps);
  Normed normed{at::empty_like(x), at::empty({x.size(0), 1}, x.options().dtype(at::kFloat))};
  with_element(x, [&](auto* element) {
    kernels_cpu::rms_norm(x.size(0), x.size(1), input(x, element), floats(weight), static_cast<float>(eps),
                          output(normed.output, element), normed.inverse_rms.mutable_data_ptr<float>());
  });
  return normed;
}

at::Tensor rms_norm_backward(const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& inverse_rms,
                             const at::Tensor& weight, const at::Tensor& residual,
                             at::Tensor weight_gradient) {
  if (x.is_cuda()) {
    auto [by_x, by_weight] = at::_fused_rms_norm_backward(
        gradient, x, {x.size(1)}, inverse_rms, weight.to(x.scalar_type()), {true, weight_gradient.defined()});
    if (residual.defined()) by_x.add_(residual);
    if (weight_gradient.defined()) weight_gradient.add_(by_weight);
    return by_x;
  }
  if (!runs_on_cpu(x))
    return kernels_composed::rms_norm_backward(gradient, x, inverse_rms, weight, residual, weight_gradient);
  at::Tensor by_x = at::empty_like(x);
  with_element(x, [&](auto* element) {
    kernels_cpu::rms_norm_backward(
        x.size(0), x.size(1), input(gradient, element), input(x, element), floats(inverse_rms),
        floats(weight), input(residual, element), output(by_x, element),
        weight_gradient.defined() ? weight_gradient.mutable_data_ptr<float>() : nullptr);
  });
  return by_x;
}

Rotation make_rotation(std::int64_t positions, std::int64_t head_dim, double theta, at::ScalarType type,
                       at::Device device) {
  const auto options = at::TensorOptions().dtype(at::kFloat);
  const at::Tensor exponents = at::arange(0, head_dim, 2, options) / static_cast<double>(head_dim);
  const at::Tensor frequencies = at::pow(theta, exponents).reciprocal();
  const at::Tensor angles = at::outer(at::arange(0, positions, options), frequencies);
  return {angles.cos().to(device, accumulation_type(type)), angles.sin().to(device, accumulation_type(type))};
}

void rotate_(at::Tensor heads, const Rotation& rotation, bool inverse) {
  if (!runs_on_cpu(heads)) return kernels_composed::rotate_(heads, rotation, inverse);
  const kernels_cpu::Heads shape{.batch = heads.size(0),
                                 .positions = heads.size(1),
                                 .count = heads.size(2),
                                 .head_dim = heads.size(3),
                                 .batch_stride = heads.stride(0),
                                 .position_stride = heads.stride(1)};
  with_element(heads, [&](auto* element) {
    kernels_cpu::rotate(shape, output(heads, element), floats(rotation.cosine), floats(rotation.sine),
                        inverse);
  });
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  if (!runs_on_cpu(gate_up)) return kernels_composed::swiglu(gate_up);
  const std::int64_t width = gate_up.size(1) / 2;
  at::Tensor activation = at::empty({gate_up.size(0), width}, gate_up.options());
  with_element(gate_up, [&](auto* element) {
    kernels_cpu::swiglu(gate_up.size(0), width, input(gate_up, element), output(activation, element));
  });
  return activation;
}

SwigluGradient swiglu_backward(const at::Tensor& gradient, const at::Tensor& gate_up) {
  if (!runs_on_cpu(gate_up)) return kernels_composed::swiglu_backward(gradient, gate_up);
  const std::int64_t width = gate_up.size(1) / 2;
  SwigluGradient result{at::empty_like(gradient), at::empty_like(gate_up)};
  with_element(gate_up, [&](auto* element) {
    kernels_cpu::swiglu_backward(gate_up.size(0), width, input(gradient, element), input(gate_up, element),
                                 output(result.activation, element), output(result.gate_up, element));
  });
  return result;
}

CrossEntropy cross_entropy_(at::Tensor logits, const at::Tensor& targets, double gradient_scale,
                            at::ScalarType type) {
  if (!(logits.is_cpu() && logits.scalar_type() == at::kFloat))
    return kernels_composed::cross_entropy_(logits, targets, gradient_scale, type);
  const double loss =
      kernels_cpu::cross_entropy(logits.size(0), logits.size(1), logits.mutable_data_ptr<float>(),
                                 targets.const_data_ptr<std::int64_t>(), static_cast<float>(gradient_scale));
  return {at::scalar_tensor(loss, at::TensorOptions().dtype(at::kDouble)),
          gradient_scale == 0 ? at::Tensor() : logits.to(type)};
}

double sum_of_squares(const at::Tensor& values) {
  if (values.is_cpu() && values.scalar_type() == at::kFloat)
    return kernels_cpu::sum_of_squares(values.numel(), floats(values));
  // A GPU sums in a tree, exact enough in float32; asked for float64 it would first widen all values.
  const double norm = at::linalg_vector_norm(values).item().toDouble();
  return norm * norm;
}

}  // namespace sidestep::daemon::kernels

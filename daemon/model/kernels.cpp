#include "daemon/model/kernels.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>

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
  const auto type = accumulation_type(x.scalar_type());
  if (!runs_on_cpu(x)) {
    const at::Tensor wide = x.to(type);
    const at::Tensor inverse = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps);
    return {(weight * (wide * inverse)).to(x.scalar_type()), inverse};
  }
  Normed normed{at::empty_like(x), at::empty({x.size(0), 1}, x.options().dtype(type))};
  with_element(x, [&](auto* element) {
    kernels_cpu::rms_norm(x.size(0), x.size(1), input(x, element), floats(weight), static_cast<float>(eps),
                          output(normed.output, element), normed.inverse_rms.mutable_data_ptr<float>());
  });
  return normed;
}

at::Tensor rms_norm_backward(const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& inverse_rms,
                             const at::Tensor& weight, const at::Tensor& residual,
                             at::Tensor weight_gradient) {
  if (!runs_on_cpu(x)) {
    const auto type = accumulation_type(x.scalar_type());
    const at::Tensor normed = x.to(type) * inverse_rms;
    const at::Tensor wide = gradient.to(type);
    const at::Tensor weighted = wide * weight;
    at::Tensor by_x = inverse_rms * (weighted - normed * (weighted * normed).mean(-1, /*keepdim=*/true));
    if (residual.defined()) by_x += residual;
    if (weight_gradient.defined()) weight_gradient += (wide * normed).sum(0);
    return by_x.to(x.scalar_type());
  }
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
  const std::int64_t half = heads.size(3) / 2;
  if (!runs_on_cpu(heads)) {
    const at::Tensor cosine = rotation.cosine.narrow(0, 0, heads.size(1)).unsqueeze(1);
    const at::Tensor angle_sine = rotation.sine.narrow(0, 0, heads.size(1)).unsqueeze(1);
    const at::Tensor sine = inverse ? -angle_sine : angle_sine;
    const at::Tensor first = heads.narrow(3, 0, half);
    const at::Tensor second = heads.narrow(3, half, half);
    heads.copy_(at::cat({first * cosine - second * sine, second * cosine + first * sine}, 3));
    return;
  }
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
  const std::int64_t width = gate_up.size(1) / 2;
  if (!runs_on_cpu(gate_up)) {
    const at::Tensor wide = gate_up.to(accumulation_type(gate_up.scalar_type()));
    return (at::silu(wide.narrow(1, 0, width)) * wide.narrow(1, width, width)).to(gate_up.scalar_type());
  }
  at::Tensor activation = at::empty({gate_up.size(0), width}, gate_up.options());
  with_element(gate_up, [&](auto* element) {
    kernels_cpu::swiglu(gate_up.size(0), width, input(gate_up, element), output(activation, element));
  });
  return activation;
}

SwigluGradient swiglu_backward(const at::Tensor& gradient, const at::Tensor& gate_up) {
  const std::int64_t width = gate_up.size(1) / 2;
  if (!runs_on_cpu(gate_up)) {
    const auto type = gate_up.scalar_type();
    const at::Tensor wide = gate_up.to(accumulation_type(type));
    const at::Tensor gate = wide.narrow(1, 0, width);
    const at::Tensor up = wide.narrow(1, width, width);
    const at::Tensor sigmoid = at::sigmoid(gate);
    const at::Tensor silu = gate * sigmoid;
    const at::Tensor by_gate = gradient * up * sigmoid * (1 + gate * (1 - sigmoid));
    return {(silu * up).to(type), at::cat({by_gate, gradient * silu}, 1).to(type)};
  }
  SwigluGradient result{at::empty_like(gradient), at::empty_like(gate_up)};
  with_element(gate_up, [&](auto* element) {
    kernels_cpu::swiglu_backward(gate_up.size(0), width, input(gradient, element), input(gate_up, element),
                                 output(result.activation, element), output(result.gate_up, element));
  });
  return result;
}

double cross_entropy_(at::Tensor logits, const at::Tensor& targets, double gradient_scale) {
  if (!(logits.is_cpu() && logits.scalar_type() == at::kFloat)) {
    const at::Tensor total = at::logsumexp(logits, 1, /*keepdim=*/true);
    const at::Tensor picked = targets.unsqueeze(1);
    const double loss = (total - logits.gather(1, picked)).sum().to(at::kDouble).item<double>();
    if (gradient_scale != 0) {
      logits.sub_(total).exp_().mul_(gradient_scale);
      logits.scatter_add_(1, picked, at::empty_like(picked, logits.options()).fill_(-gradient_scale));
    }
    return loss;
  }
  return kernels_cpu::cross_entropy(logits.size(0), logits.size(1), logits.mutable_data_ptr<float>(),
                                    targets.const_data_ptr<std::int64_t>(),
                                    static_cast<float>(gradient_scale));
}

double sum_of_squares(const at::Tensor& values) {
  if (values.is_cpu() && values.scalar_type() == at::kFloat)
    return kernels_cpu::sum_of_squares(values.numel(), floats(values));
  const double norm = at::linalg_vector_norm(values, 2, {}, false, at::kDouble).item<double>();
  return norm * norm;
}

}  // namespace sidestep::daemon::kernels

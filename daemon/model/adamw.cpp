#include "daemon/model/adamw.h"

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <optional>

#include "daemon/model/kernels.h"

namespace sidestep::daemon {

AdamW::AdamW(const scheduler::OptimizerSpec& spec, const ParameterLayout& layout, const at::Tensor& weights)
    : spec_(spec),
      matrix_elements_(layout.matrix_elements),
      average_(at::zeros_like(weights)),
      first_moment_(at::zeros_like(weights)),
      second_moment_(at::zeros_like(weights)) {}

double AdamW::norm() {
  if (!norm_) norm_ = std::sqrt(kernels::sum_of_squares(average_));
  return *norm_;
}

void AdamW::update(at::Tensor& weights, double learning_rate) {
  ++updates_;
  gradient_norm_ = norm();
  if (spec_.clip_norm > 0) {
    const double coefficient = spec_.clip_norm / (norm() + 1e-6);
    if (coefficient < 1) {
      average().mul_(coefficient);
      gradient_norm_ *= coefficient;
    }
  }
  const at::Tensor count =
      at::scalar_tensor(static_cast<double>(updates_), weights.options().dtype(at::kFloat));
  const auto update_part = [&](std::int64_t begin, std::int64_t length, double weight_decay) {
    if (length == 0) return;
    const auto part = [&](at::Tensor& flat) { return flat.narrow(0, begin, length); };
    at::_fused_adamw_({part(weights)}, {part(average_)}, {part(first_moment_)}, {part(second_moment_)}, {},
                      {count}, learning_rate_scale_ * learning_rate, spec_.beta1, spec_.beta2, weight_decay,
                      spec_.eps,
                      /*amsgrad=*/false,
                      /*maximize=*/false);
  };
  update_part(0, matrix_elements_, spec_.weight_decay);
  update_part(matrix_elements_, weights.numel() - matrix_elements_, 0);
}

}  // namespace sidestep::daemon

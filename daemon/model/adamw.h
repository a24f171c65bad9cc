// AdamW with decoupled weight decay (Loshchilov and Hutter 2019) on a stage's flat buffers, and the second
// buffer in which a step's averaged gradient is put together.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "daemon/model/parameters.h"
#include "scheduler/job.h"

namespace sidestep::daemon {

// Owner: the runner, beside its Stage. Not thread-safe. Throws c10::Error when there is no memory.
class AdamW {
 public:
  // Buffers like `weights`, all zero.
  AdamW(const scheduler::OptimizerSpec& spec, const ParameterLayout& layout, const at::Tensor& weights);

  // The averaged gradient: flat, [elements], for writing before update() reads and clips it.
  at::Tensor& average() {
    norm_.reset();
    return average_;
  }
  // L2 norm of the average as it is. Not finite if any element is not. Reads the average only if it may have
  // changed since.
  double norm();
  // Clips the average to spec.clip_norm (times min(1, clip / (norm + 1e-6)), as
  // torch.nn.utils.clip_grad_norm_) and makes one update of the weights. Matrices decay, norms do not.
  void update(at::Tensor& weights, double learning_rate);
  // Updates made so far; bias correction counts these, not steps.
  std::int64_t updates() const { return updates_; }
  // Adam's state, flat, [elements]: to be copied, or overwritten by that of another replica.
  at::Tensor& first_moment() { return first_moment_; }
  at::Tensor& second_moment() { return second_moment_; }
  void set_updates(std::int64_t updates) { updates_ = updates; }
  // Of the gradient of the last update, after clipping; 0: none was made.
  double gradient_norm() const { return gradient_norm_; }
  void set_gradient_norm(double norm) { gradient_norm_ = norm; }
  // Times every learning rate from now on.
  double learning_rate_scale() const { return learning_rate_scale_; }
  void set_learning_rate_scale(double scale) { learning_rate_scale_ = scale; }

 private:
  scheduler::OptimizerSpec spec_;
  std::int64_t matrix_elements_ = 0;
  std::int64_t updates_ = 0;
  double gradient_norm_ = 0;
  double learning_rate_scale_ = 1;
  at::Tensor average_;
  std::optional<double> norm_;
  at::Tensor first_moment_;
  at::Tensor second_moment_;
};

}  // namespace sidestep::daemon

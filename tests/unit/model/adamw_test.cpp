#include "daemon/model/adamw.h"

#include <cmath>

#include "tests/unit/model/small_job.h"
#include "tests/unit/torch/catch.h"

namespace sidestep::daemon {
namespace {

using namespace testing;

scheduler::OptimizerSpec spec_with(double decay, double clip) {
  scheduler::OptimizerSpec spec;
  spec.weight_decay = decay;
  spec.clip_norm = clip;
  return spec;
}

}  // namespace

TEST_CASE("AdamW agrees with plain code, matrices decay and norms do not") {
  ParameterLayout layout;
  layout.parameters = {{"a", {3, 5}, 0}, {"b", {4}, 15}};
  layout.matrix_elements = 15;
  layout.elements = 19;
  const auto spec = spec_with(0.1, 0);
  at::Tensor weights = random_normal({19}, 1);
  AdamW optimizer(spec, layout, weights);
  std::vector<double> w(19), m(19), v(19);
  for (std::size_t i = 0; i < 19; ++i) w[i] = weights[static_cast<std::int64_t>(i)].item<double>();
  for (int step = 1; step <= 5; ++step) {
    const double rate = 0.01 * step;
    const at::Tensor gradient = random_normal({19}, static_cast<std::uint64_t>(10 + step));
    optimizer.average().copy_(gradient);
    optimizer.update(weights, rate);
    for (std::size_t i = 0; i < 19; ++i) {
      const double g = gradient[static_cast<std::int64_t>(i)].item<double>();
      if (i < 15) w[i] -= rate * 0.1 * w[i];
      m[i] = 0.9 * m[i] + 0.1 * g;
      v[i] = 0.95 * v[i] + 0.05 * g * g;
      w[i] -=
          rate * (m[i] / (1 - std::pow(0.9, step))) / (std::sqrt(v[i] / (1 - std::pow(0.95, step))) + 1e-8);
    }
  }
  CHECK(optimizer.updates() == 5);
  for (std::size_t i = 0; i < 19; ++i)
    CHECK(weights[static_cast<std::int64_t>(i)].item<double>() == Approx(w[i]).epsilon(1e-5).margin(1e-6));
}

TEST_CASE("AdamW clips the average by its norm, and only if it is too large") {
  ParameterLayout layout;
  layout.elements = layout.matrix_elements = 100;
  at::Tensor weights = at::zeros({100}, at::kFloat);
  AdamW optimizer(spec_with(0, 2), layout, weights);
  optimizer.average().fill_(1);
  CHECK(optimizer.norm() == Approx(10));
  optimizer.update(weights, 0.1);
  CHECK(optimizer.norm() == Approx(2));
  optimizer.average().fill_(0.1);
  optimizer.update(weights, 0.1);
  CHECK(optimizer.norm() == Approx(1));
}

}  // namespace sidestep::daemon

// The CPU's kernels against the same formulas composed of ATen operators in float64, and those against
// independent code.
#include "daemon/model/kernels.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <vector>

#include "tests/unit/model/small_job.h"
#include "tests/unit/torch/catch.h"

namespace sidestep::daemon {
namespace {

using namespace testing;

constexpr at::ScalarType types[] = {at::kFloat, at::kBFloat16};

double tolerance(at::ScalarType type) { return type == at::kFloat ? 2e-6 : 1e-2; }

}  // namespace

TEST_CASE("RMS norm and its gradient on the CPU agree with float64") {
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  const std::int64_t width = GENERATE(1, 16, 37, 256);
  const std::int64_t rows = 150;
  const at::Tensor x = random_normal({rows, width}, 1, type) * 3;
  const at::Tensor weight = random_normal({width}, 2);
  const at::Tensor gradient = random_normal({rows, width}, 3, type);
  const at::Tensor residual = random_normal({rows, width}, 4, type);
  const auto exact = kernels::rms_norm(x.to(at::kDouble), weight.to(at::kDouble), 1e-5);
  const auto normed = kernels::rms_norm(x, weight, 1e-5);
  CHECK(difference(normed.output, exact.output) < tolerance(type));
  CHECK(difference(normed.inverse_rms, exact.inverse_rms) < 2e-6);

  at::Tensor exact_weight = at::ones({width}, at::kDouble);
  at::Tensor by_weight = at::ones({width}, at::kFloat);
  const at::Tensor exact_x =
      kernels::rms_norm_backward(gradient.to(at::kDouble), x.to(at::kDouble), exact.inverse_rms,
                                 weight.to(at::kDouble), residual.to(at::kDouble), exact_weight);
  const at::Tensor by_x =
      kernels::rms_norm_backward(gradient, x, normed.inverse_rms, weight, residual, by_weight);
  CHECK(difference(by_x, exact_x) < tolerance(type));
  CHECK(difference(by_weight, exact_weight) < 1e-5);
  CHECK(kernels::rms_norm_backward(gradient, x, normed.inverse_rms, weight, residual, {}).equal(by_x));
  const at::Tensor without = kernels::rms_norm_backward(gradient, x, normed.inverse_rms, weight, {}, {});
  CHECK(difference(without + residual, exact_x) < 2 * tolerance(type));
}

TEST_CASE("SwiGLU and its gradient on the CPU agree with float64") {
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  const std::int64_t width = GENERATE(1, 19, 128);
  at::Tensor gate_up = (random_normal({40, 2 * width}, 1) * 4).to(type);
  gate_up.select(0, 0).fill_(-120);  // exp overflows there
  gate_up.select(0, 1).fill_(95);
  const at::Tensor gradient = random_normal({40, width}, 2, type);
  CHECK(difference(kernels::swiglu(gate_up), kernels::swiglu(gate_up.to(at::kDouble))) < tolerance(type));
  const auto exact = kernels::swiglu_backward(gradient.to(at::kDouble), gate_up.to(at::kDouble));
  const auto result = kernels::swiglu_backward(gradient, gate_up);
  CHECK(difference(result.activation, exact.activation) < tolerance(type));
  CHECK(difference(result.gate_up, exact.gate_up) < tolerance(type));
}

TEST_CASE("Cross entropy and its gradient on the CPU agree with float64") {
  const std::int64_t vocabulary = GENERATE(2, 29, 256, 1003);
  const at::Tensor logits = random_normal({31, vocabulary}, 1) * 10;
  const at::Tensor targets = at::arange(31, at::kLong).remainder(vocabulary);
  at::Tensor exact = logits.to(at::kDouble);
  at::Tensor fast = logits.clone();
  const double expected = kernels::cross_entropy_(exact, targets, 0.5, at::kDouble).loss.item<double>();
  CHECK(kernels::cross_entropy_(fast, targets, 0.5, at::kFloat).loss.item<double>() ==
        Approx(expected).epsilon(1e-6));
  CHECK(difference(fast, exact) < 2e-6);
  fast = logits.clone();
  CHECK(kernels::cross_entropy_(fast, targets, 0, at::kFloat).loss.item<double>() ==
        Approx(expected).epsilon(1e-6));
  CHECK(fast.equal(logits));
}

TEST_CASE("Cross entropy of logits that are not numbers is not a number") {
  at::Tensor logits = at::zeros({2, 40}, at::kFloat);
  logits[1][7] = std::nan("");
  CHECK(std::isnan(
      kernels::cross_entropy_(logits, at::zeros({2}, at::kLong), 1, at::kFloat).loss.item<double>()));
}

// Angles, order of pairs and direction written down once more, from the paper and Hugging Face's rotate_half.
TEST_CASE("Rotary embedding agrees with plain code, and turns back") {
  constexpr std::int64_t batch = 2, positions = 11, heads = 3, head_dim = 8;
  const double theta = 5000;
  for (const auto type : types) {
    const at::Tensor whole = random_normal({batch, positions, heads + 2, head_dim}, 1, type);
    at::Tensor turned = whole.clone();
    const auto rotation = kernels::make_rotation(positions, head_dim, theta, type, at::kCPU);
    kernels::rotate_(turned.narrow(2, 0, heads), rotation, false);
    at::Tensor expected = whole.to(at::kDouble);
    for (std::int64_t b = 0; b < batch; ++b)
      for (std::int64_t p = 0; p < positions; ++p)
        for (std::int64_t h = 0; h < heads; ++h)
          for (std::int64_t i = 0; i < head_dim / 2; ++i) {
            const double angle =
                static_cast<double>(p) * std::pow(theta, -2.0 * static_cast<double>(i) / head_dim);
            const double first = whole[b][p][h][i].item<double>();
            const double second = whole[b][p][h][i + head_dim / 2].item<double>();
            expected[b][p][h][i] = first * std::cos(angle) - second * std::sin(angle);
            expected[b][p][h][i + head_dim / 2] = second * std::cos(angle) + first * std::sin(angle);
          }
    CHECK(difference(turned, expected) < tolerance(type));
    CHECK(turned.narrow(2, heads, 2).equal(whole.narrow(2, heads, 2)));

    at::Tensor composed = whole.to(at::kDouble);
    kernels::rotate_(composed.narrow(2, 0, heads),
                     kernels::make_rotation(positions, head_dim, theta, at::kDouble, at::kCPU), false);
    CHECK(difference(composed, expected) < 1e-6);  // angles are float32, as Hugging Face's
    kernels::rotate_(turned.narrow(2, 0, heads), rotation, true);
    CHECK(difference(turned, whole) < 2 * tolerance(type));
  }
}

TEST_CASE("Sum of squares in float64, and not finite if an element is not") {
  const at::Tensor values = random_normal({200'003}, 1);
  CHECK(kernels::sum_of_squares(values) ==
        Approx(values.to(at::kDouble).square().sum().item<double>()).epsilon(1e-12));
  CHECK(kernels::sum_of_squares(at::empty({0}, at::kFloat)) == 0);
  values[100'000] = INFINITY;
  CHECK_FALSE(std::isfinite(kernels::sum_of_squares(values)));
}

TEST_CASE("Kernels give the same bits with any number of threads") {
  const at::Tensor x = random_normal({700, 64}, 1);
  const at::Tensor weight = random_normal({64}, 2);
  const auto run = [&](int threads) {
    at::set_num_threads(threads);
    const auto normed = kernels::rms_norm(x, weight, 1e-6);
    at::Tensor by_weight = at::zeros({64}, at::kFloat);
    const at::Tensor by_x = kernels::rms_norm_backward(x, x, normed.inverse_rms, weight, {}, by_weight);
    const auto mlp = kernels::swiglu_backward(x.narrow(1, 0, 32).contiguous(), x);
    at::set_num_threads(1);
    return at::cat({by_x.flatten(), by_weight, mlp.gate_up.flatten()});
  };
  const at::Tensor one = run(1);
  CHECK(run(2).equal(one));
  CHECK(run(5).equal(one));
}

}  // namespace sidestep::daemon

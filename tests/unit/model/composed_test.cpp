// What is composed of ATen's operators, on the CPU: against the CPU's own kernels, in every type.
#include "daemon/model/kernels_composed.h"

#include "daemon/model/attention_composed.h"
#include "tests/unit/model/small_job.h"
#include "tests/unit/torch/catch.h"

namespace sidestep::daemon {
namespace {

using namespace testing;

double tolerance(at::ScalarType type) { return type == at::kFloat ? 2e-6 : 1.5e-2; }

}  // namespace

TEST_CASE("Composed kernels agree with the CPU's") {
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  const double near = tolerance(type);
  const at::Tensor x = random_normal({50, 64}, 1, type) * 3;
  const at::Tensor gradient = random_normal({50, 64}, 2, type);
  const at::Tensor residual = random_normal({50, 64}, 3, type);
  const at::Tensor weight = random_normal({64}, 4);

  const auto normed = kernels::rms_norm(x, weight, 1e-5);
  const auto composed = kernels_composed::rms_norm(x, weight, 1e-5);
  CHECK(difference(composed.output, normed.output) < near);
  CHECK(difference(composed.inverse_rms, normed.inverse_rms) < 2e-6);
  at::Tensor by_weight = at::zeros({64}, at::kFloat);
  at::Tensor composed_by_weight = at::zeros({64}, at::kFloat);
  const at::Tensor by_x =
      kernels::rms_norm_backward(gradient, x, normed.inverse_rms, weight, residual, by_weight);
  CHECK(difference(kernels_composed::rms_norm_backward(gradient, x, normed.inverse_rms, weight, residual,
                                                       composed_by_weight),
                   by_x) < near);
  CHECK(difference(composed_by_weight, by_weight) < 1e-5);

  CHECK(difference(kernels_composed::swiglu(x), kernels::swiglu(x)) < near);
  const at::Tensor half = gradient.narrow(1, 0, 32).contiguous();
  const auto mlp = kernels::swiglu_backward(half, x);
  const auto composed_mlp = kernels_composed::swiglu_backward(half, x);
  CHECK(difference(composed_mlp.activation, mlp.activation) < near);
  CHECK(difference(composed_mlp.gate_up, mlp.gate_up) < near);

  const bool inverse = GENERATE(false, true);
  const at::Tensor heads = random_normal({2, 5, 4, 8}, 5, type);
  const auto rotation = kernels::make_rotation(5, 8, 1e4, at::kFloat, at::kCPU);
  at::Tensor turned = heads.clone();
  at::Tensor composed_turned = heads.clone();
  kernels::rotate_(turned.narrow(2, 0, 3), rotation, inverse);
  kernels_composed::rotate_(composed_turned.narrow(2, 0, 3), rotation, inverse);
  CHECK(difference(composed_turned, turned) < near);
}

TEST_CASE("Composed cross entropy agrees with the CPU's") {
  const at::Tensor logits = random_normal({20, 300}, 1) * 5;
  const at::Tensor targets = at::arange(20, at::kLong) * 7;
  const auto fast = kernels::cross_entropy_(logits.clone(), targets, 0.25, at::kFloat);
  const double loss = fast.loss.item<double>();
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const auto composed = kernels_composed::cross_entropy_(logits.clone(), targets, 0.25, type);
    CHECK(composed.loss.item<double>() == Approx(loss).epsilon(1e-6));
    CHECK(composed.gradient.scalar_type() == type);
    CHECK(difference(composed.gradient, fast.gradient) < tolerance(type));
  }
  const auto without = kernels_composed::cross_entropy_(logits.clone(), targets, 0, at::kFloat);
  CHECK(without.loss.item<double>() == Approx(loss).epsilon(1e-6));
  CHECK_FALSE(without.gradient.defined());
}

TEST_CASE("Composed attention agrees with the CPU's flash attention, in blocks of any size") {
  const auto type = GENERATE(at::kDouble, at::kFloat, at::kBFloat16);
  const std::int64_t kv_heads = GENERATE(1, 2, 4);
  const std::int64_t scores_max = GENERATE(1, 2 * 4 * 13 * 5, 1 << 20);  // one query, five, all at once
  const double near = type == at::kDouble ? 1e-10 : tolerance(type);
  const at::Tensor query = random_normal({2, 4, 13, 8}, 1, type);
  const at::Tensor key = random_normal({2, kv_heads, 13, 8}, 2, type);
  const at::Tensor value = random_normal({2, kv_heads, 13, 8}, 3, type);
  const at::Tensor gradient = random_normal({2, 4, 13, 8}, 4, type);
  const AttentionOutput flash = attention(query, key, value, Mask::causal);
  const AttentionOutput composed = attention_composed::attention(query, key, value, Mask::causal, scores_max);
  CHECK(difference(composed.output, flash.output) < near);
  CHECK(composed.output.scalar_type() == type);
  CHECK(composed.output.transpose(1, 2).is_contiguous());
  const AttentionGradient expected = attention_backward(gradient, query, key, value, flash);
  const AttentionGradient by =
      attention_composed::attention_backward(gradient, query, key, value, composed, scores_max);
  CHECK(difference(by.query, expected.query) < near);
  CHECK(difference(by.key, expected.key) < near);
  CHECK(difference(by.value, expected.value) < near);
}

}  // namespace sidestep::daemon

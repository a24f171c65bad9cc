#include "daemon/model/stage.h"

#include <map>

#include "tests/unit/model/small_job.h"
#include "tests/unit/torch/catch.h"

namespace sidestep::daemon {
namespace {

using namespace testing;

struct Run {
  double loss = 0;
  std::map<std::string, at::Tensor> gradients;
};

// One microbatch through all stages and back.
Run run_microbatch(const scheduler::JobSpec& spec, const at::Tensor& tokens, const StageOptions& options = {},
                   bool recompute = false) {
  std::vector<Stage> stages;
  for (std::int64_t stage = 0; stage < spec.pipeline.stages; ++stage)
    stages.emplace_back(spec, stage, options);
  std::vector<StageActivations> kept(stages.size());
  at::Tensor x = inputs_of(tokens);
  for (std::size_t i = 0; i < stages.size(); ++i) x = stages[i].forward(x, &kept[i], recompute);
  const HeadResult head = stages[0].head(x, targets_of(tokens), true, true);
  at::Tensor gradient = head.gradient;
  for (std::size_t i = stages.size(); i-- > 0;) gradient = stages[i].backward(kept[i], gradient, true);
  CHECK_FALSE(gradient.defined());

  Run run;
  run.loss = head.loss;
  for (Stage& stage : stages)
    for (const Parameter& parameter : stage.layout().parameters)
      run.gradients[parameter.name] = view_of(stage.gradient(), parameter).clone();
  return run;
}

void check_same(const Run& run, const Run& expected, double tolerance) {
  CHECK(run.loss == Approx(expected.loss).epsilon(tolerance));
  REQUIRE(run.gradients.size() == expected.gradients.size());
  for (const auto& [name, gradient] : expected.gradients) {
    INFO(name);
    CHECK(difference(run.gradients.at(name), gradient) <= tolerance);
    CHECK(gradient.abs().max().item<double>() > 0);
  }
}

double loss_of(Stage& stage, const at::Tensor& tokens) {
  return stage.head(stage.forward(inputs_of(tokens), nullptr, false), targets_of(tokens), false, false).loss;
}

}  // namespace

TEST_CASE("Stages: any split gives the loss and the gradients of one stage") {
  const auto whole = small_job(1);
  const at::Tensor tokens = random_tokens(whole, 1);
  const Run expected = run_microbatch(whole, tokens);
  check_same(run_microbatch(small_job(2), tokens), expected, 1e-6);
  check_same(run_microbatch(small_job(4), tokens), expected, 1e-6);
  auto without_layers = small_job(3);
  without_layers.pipeline.stage_0_layers = false;
  check_same(run_microbatch(without_layers, tokens), expected, 1e-6);
}

TEST_CASE("Stage: recomputation gives the same bits") {
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  const auto spec = small_job(2);
  const at::Tensor tokens = random_tokens(spec, 1);
  const StageOptions options{.compute = type};
  const Run saved = run_microbatch(spec, tokens, options, false);
  const Run recomputed = run_microbatch(spec, tokens, options, true);
  CHECK(saved.loss == recomputed.loss);
  for (const auto& [name, gradient] : saved.gradients) {
    INFO(name);
    CHECK(recomputed.gradients.at(name).equal(gradient));
  }
}

TEST_CASE("Stage: gradients agree with finite differences of the loss in float64") {
  auto spec = small_job(1, 2);
  spec.model.tie_word_embeddings = GENERATE(false, true);
  spec.model.num_key_value_heads = GENERATE(1, 2, 4);
  const StageOptions exact{.compute = at::kDouble, .master = at::kDouble};
  const at::Tensor tokens = random_tokens(spec, 2);
  const Run run = run_microbatch(spec, tokens, exact);
  Stage stage(spec, 0, exact);
  const double step = 1e-5;
  for (const Parameter& parameter : stage.layout().parameters) {
    // Along one random direction per parameter: its whole gradient counts.
    const at::Tensor direction = random_normal(parameter.shape, 7, at::kDouble);
    const at::Tensor weights = view_of(stage.weights(), parameter);
    const at::Tensor before = weights.clone();
    weights.copy_(before + step * direction);
    const double above = loss_of(stage, tokens);
    weights.copy_(before - step * direction);
    const double below = loss_of(stage, tokens);
    weights.copy_(before);
    INFO(parameter.name);
    CHECK((run.gradients.at(parameter.name) * direction).sum().item<double>() ==
          Approx((above - below) / (2 * step)).epsilon(1e-5).margin(1e-8));
  }
}

TEST_CASE("Stage: the gradient by the input agrees with finite differences") {
  const auto spec = small_job(2);
  const StageOptions exact{.compute = at::kDouble, .master = at::kDouble};
  Stage stage(spec, 1, exact);
  const std::vector<std::int64_t> shape{3, 12, 32};
  const at::Tensor x = random_normal(shape, 1, at::kDouble);
  const at::Tensor weight = random_normal(shape, 2, at::kDouble);
  const at::Tensor direction = random_normal(shape, 3, at::kDouble);
  StageActivations kept;
  stage.forward(x, &kept, false);
  const at::Tensor by_x = stage.backward(kept, weight, false);
  const auto value = [&](const at::Tensor& at) {
    return (stage.forward(at, nullptr, false) * weight).sum().item<double>();
  };
  const double step = 1e-5;
  CHECK((by_x * direction).sum().item<double>() ==
        Approx((value(x + step * direction) - value(x - step * direction)) / (2 * step)).epsilon(1e-6));
  CHECK(stage.gradient().abs().max().item<double>() == 0);
}

TEST_CASE("Stage: float32 gradients agree with float64") {
  const auto spec = small_job(1);
  const at::Tensor tokens = random_tokens(spec, 3);
  check_same(run_microbatch(spec, tokens),
             run_microbatch(spec, tokens, {.compute = at::kDouble, .master = at::kDouble}), 1e-4);
}

TEST_CASE("Stage: bfloat16 stays close to float32") {
  const auto spec = small_job(2);
  const at::Tensor tokens = random_tokens(spec, 3);
  const Run wide = run_microbatch(spec, tokens);
  const Run narrow = run_microbatch(spec, tokens, {.compute = at::kBFloat16});
  CHECK(narrow.loss == Approx(wide.loss).epsilon(0.01));
  for (const auto& [name, gradient] : wide.gradients) {
    INFO(name);
    CHECK(narrow.gradients.at(name).scalar_type() == at::kFloat);
    CHECK((narrow.gradients.at(name) - gradient).norm().item<double>() <
          0.05 * gradient.norm().item<double>());
  }
}

TEST_CASE("Stage: grouped queries equal heads of their own with repeated keys and values") {
  const auto grouped = small_job(1);
  auto expanded = grouped;
  expanded.model.num_key_value_heads = grouped.model.num_attention_heads;
  Stage narrow(grouped, 0, {});
  Stage wide(expanded, 0, {});
  for (const Parameter& parameter : narrow.layout().parameters) {
    at::Tensor weights = view_of(narrow.weights(), parameter);
    if (parameter.name.find("k_proj") != std::string::npos ||
        parameter.name.find("v_proj") != std::string::npos)
      weights = weights.view({2, 8, 32}).repeat_interleave(2, 0).reshape({32, 32});
    view_of(wide.weights(), wide.layout().find(parameter.name)).copy_(weights);
  }
  const at::Tensor tokens = random_tokens(grouped, 4);
  CHECK(loss_of(narrow, tokens) == Approx(loss_of(wide, tokens)).epsilon(1e-6));
}

TEST_CASE("Stage: tied embeddings use the embedding as head") {
  auto spec = small_job(1);
  spec.model.tie_word_embeddings = true;
  Stage tied(spec, 0, {});
  spec.model.tie_word_embeddings = false;
  Stage untied(spec, 0, {});
  CHECK(tied.layout().elements == untied.layout().elements - 29 * 32);
  const auto named = [](Stage& stage, const char* name) {
    return view_of(stage.weights(), stage.layout().find(name));
  };
  named(untied, "lm_head.weight").copy_(named(untied, "model.embed_tokens.weight"));
  const at::Tensor tokens = random_tokens(spec, 4);
  CHECK(loss_of(tied, tokens) == Approx(loss_of(untied, tokens)).epsilon(1e-6));
}

TEST_CASE("Stage: gradients add up over microbatches, and not if told not to") {
  const auto spec = small_job(1);
  Stage stage(spec, 0, {});
  const auto add = [&](const at::Tensor& tokens, bool accumulate) {
    StageActivations kept;
    const HeadResult head =
        stage.head(stage.forward(inputs_of(tokens), &kept, false), targets_of(tokens), true, accumulate);
    stage.backward(kept, head.gradient, accumulate);
  };
  const at::Tensor first = random_tokens(spec, 1);
  const at::Tensor second = random_tokens(spec, 2);
  add(first, true);
  const at::Tensor one = stage.gradient().clone();
  add(second, false);
  CHECK(stage.gradient().equal(one));
  stage.gradient().zero_();
  add(second, true);
  const at::Tensor other = stage.gradient().clone();
  add(first, true);
  CHECK(difference(stage.gradient(), one + other) < 1e-6);
}

TEST_CASE("Stage: the head in pieces gives what it gives at once") {
  auto spec = small_job(1, 1);
  spec.model.vocab_size = 1 << 20;  // 16 rows of logits a piece
  spec.model.hidden_size = 8;
  spec.model.head_dim = 2;
  spec.model.num_key_value_heads = 4;
  spec.pipeline.microbatch_size = 2;
  Stage stage(spec, 0, {});
  const at::Tensor tokens = random_tokens(spec, 1);
  const at::Tensor x = random_normal({2, 12, 8}, 1);
  const HeadResult head = stage.head(x, targets_of(tokens), true, false);
  double loss = 0;
  std::vector<at::Tensor> gradients;
  for (std::int64_t row = 0; row < 2; ++row) {
    const HeadResult part =
        stage.head(x.narrow(0, row, 1).contiguous(), targets_of(tokens).narrow(0, row, 1), true, false);
    loss += part.loss / 2;
    gradients.push_back(part.gradient / 2);
  }
  CHECK(head.loss == Approx(loss).epsilon(1e-6));
  CHECK(difference(head.gradient, at::cat(gradients)) < 1e-5);
}

}  // namespace sidestep::daemon

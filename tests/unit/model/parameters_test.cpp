#include "daemon/model/parameters.h"

#include "tests/unit/model/small_job.h"
#include "tests/unit/torch/catch.h"

namespace sidestep::daemon {
namespace {

using namespace testing;

std::vector<std::string> names(const ParameterLayout& layout) {
  std::vector<std::string> all;
  for (const Parameter& parameter : layout.parameters) all.push_back(parameter.name);
  return all;
}

}  // namespace

TEST_CASE("Parameters have Hugging Face's names and shapes, matrices before norms") {
  const auto layout = ParameterLayout::of_stage(small_job(4), 0);
  const std::vector<std::string> expected{"model.embed_tokens.weight",
                                          "lm_head.weight",
                                          "model.layers.0.self_attn.q_proj.weight",
                                          "model.layers.0.self_attn.k_proj.weight",
                                          "model.layers.0.self_attn.v_proj.weight",
                                          "model.layers.0.self_attn.o_proj.weight",
                                          "model.layers.0.mlp.gate_proj.weight",
                                          "model.layers.0.mlp.up_proj.weight",
                                          "model.layers.0.mlp.down_proj.weight",
                                          "model.layers.0.input_layernorm.weight",
                                          "model.layers.0.post_attention_layernorm.weight",
                                          "model.norm.weight"};
  CHECK(names(layout) == expected);
  CHECK((layout.find("model.layers.0.self_attn.k_proj.weight").shape == std::vector<std::int64_t>{16, 32}));
  CHECK((layout.find("model.layers.0.mlp.down_proj.weight").shape == std::vector<std::int64_t>{32, 48}));
  CHECK(layout.matrix_elements == layout.elements - 3 * 32);
  const auto last = ParameterLayout::of_stage(small_job(4), 3);
  CHECK(names(last).front() == "model.layers.3.self_attn.q_proj.weight");
  CHECK(last.parameters.size() == 9);
}

TEST_CASE("Initial weights: the same in every split, other with another seed") {
  const auto whole = small_job(1);
  const auto weights_of = [](const scheduler::JobSpec& spec, std::int64_t stage, const std::string& name) {
    Stage built(spec, stage, {});
    return view_of(built.weights(), built.layout().find(name)).clone();
  };
  const std::string name = "model.layers.3.mlp.up_proj.weight";
  const at::Tensor expected = weights_of(whole, 0, name);
  CHECK(weights_of(small_job(2), 1, name).equal(expected));
  CHECK(weights_of(small_job(4), 3, name).equal(expected));
  CHECK_FALSE(weights_of(small_job(4), 3, "model.layers.3.mlp.gate_proj.weight").equal(expected));
  auto other = small_job(4);
  other.seed = 6;
  CHECK_FALSE(weights_of(other, 3, name).equal(expected));
}

TEST_CASE("Initial weights are normal with the configured deviation, norms are one") {
  auto spec = small_job(1, 1);
  spec.model.hidden_size = 256;
  spec.model.head_dim = 64;
  spec.model.initializer_range = 0.02;
  Stage stage(spec, 0, {});
  const at::Tensor weights =
      view_of(stage.weights(), stage.layout().find("model.layers.0.self_attn.q_proj.weight"))
          .to(at::kDouble) /
      0.02;
  CHECK(weights.mean().item<double>() == Approx(0).margin(0.02));
  CHECK(weights.square().mean().item<double>() == Approx(1).epsilon(0.02));
  CHECK(weights.pow(4).mean().item<double>() == Approx(3).epsilon(0.05));
  CHECK((weights.abs() < 1).to(at::kDouble).mean().item<double>() == Approx(0.6827).epsilon(0.02));
  CHECK(
      view_of(stage.weights(), stage.layout().find("model.norm.weight")).equal(at::ones({256}, at::kFloat)));
}

}  // namespace sidestep::daemon

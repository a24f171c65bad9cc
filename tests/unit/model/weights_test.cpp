#include "daemon/model/weights.h"

#include "daemon/data/hf_config.h"
#include "tests/unit/data/temporary_folder.h"
#include "tests/unit/model/model_folder.h"
#include "tests/unit/model/small_job.h"

namespace sidestep::daemon {
namespace {

using Catch::Contains;
using namespace testing;

void check_loads(const HfFolder& folder, scheduler::JobSpec spec,
                 const std::map<std::string, at::Tensor>& expected) {
  spec.seed = 99;  // other weights than those stored
  std::size_t compared = 0;
  for (std::int64_t i = 0; i < spec.pipeline.stages; ++i) {
    Stage stage(spec, i, {});
    const Status status = load_stage(folder, stage);
    INFO(status.message());
    REQUIRE(status.ok());
    for (const auto& [name, tensor] : weights_by_name(stage)) {
      INFO(name);
      CHECK(tensor.equal(expected.at(name)));
      ++compared;
    }
  }
  CHECK(compared == expected.size());
}

}  // namespace

TEST_CASE("Weights: what one split exports, every other split loads") {
  const TemporaryFolder place;
  auto spec = small_job(2);
  spec.model.tie_word_embeddings = GENERATE(false, true);
  const auto weights = initial_weights(spec);
  CHECK(weights.contains("lm_head.weight") == !spec.model.tie_word_embeddings);
  write_folder(place.path("m"), spec.model, weights);
  const HfFolder folder = must_open(place.path("m"));
  CHECK(compare_models(spec.model, folder.model(), "config.json").ok());
  for (const std::int64_t stages : {1, 2, 4}) {
    spec.pipeline.stages = stages;
    check_loads(folder, spec, weights);
  }
  spec.pipeline.stages = 3;
  spec.pipeline.stage_0_layers = false;
  check_loads(folder, spec, weights);
}

TEST_CASE("Weights: loaded ones are the ones that compute, in bfloat16 too") {
  const TemporaryFolder place;
  const auto spec = small_job(1);
  write_folder(place.path("m"), spec.model, initial_weights(spec));
  const StageOptions options{.compute = at::kBFloat16};
  Stage original(spec, 0, options);
  auto other = spec;
  other.seed = 99;
  Stage loaded(other, 0, options);
  REQUIRE(load_stage(must_open(place.path("m")), loaded).ok());
  const at::Tensor tokens = inputs_of(random_tokens(spec, 1));
  CHECK(loaded.logits(loaded.forward(tokens, nullptr, false))
            .equal(original.logits(original.forward(tokens, nullptr, false))));
}

TEST_CASE("Weights: a folder in bfloat16 is read as it is stored") {
  const TemporaryFolder place;
  const auto spec = small_job(2);
  auto weights = initial_weights(spec);
  write_folder(place.path("m"), spec.model, weights, ElementType::bf16);
  for (auto& [name, tensor] : weights) tensor = tensor.to(at::kBFloat16).to(at::kFloat);
  check_loads(must_open(place.path("m")), spec, weights);
}

TEST_CASE("Weights: the tensors of a model in the order of its layers") {
  auto spec = small_job(1, 2);
  const auto tensors = model_tensors(spec.model, ElementType::f32);
  REQUIRE(tensors.size() == 3 + 2 * 9);
  CHECK(tensors.front().name == "model.embed_tokens.weight");
  CHECK(tensors[1].name == "model.layers.0.self_attn.q_proj.weight");
  CHECK(tensors[10].name == "model.layers.1.self_attn.q_proj.weight");
  CHECK(tensors[19].name == "model.norm.weight");
  CHECK(tensors.back().name == "lm_head.weight");
}

TEST_CASE("Weights: missing, extra and mis-shaped tensors are all named") {
  const TemporaryFolder place;
  const auto spec = small_job(1, 1);
  auto weights = initial_weights(spec);
  weights.erase("model.norm.weight");
  weights["model.layers.0.mlp.up_proj.weight"] = at::zeros({48, 31}, at::kFloat);
  weights["model.layers.1.mlp.up_proj.weight"] = at::zeros({2}, at::kFloat);
  weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = at::zeros({4}, at::kFloat);
  const std::string path = place.path("m");
  write_folder(path, spec.model, weights);
  Stage stage(spec, 0, {});
  CHECK(load_stage(must_open(path), stage).message() ==
        path +
            ": tensor \"model.layers.0.mlp.up_proj.weight\" has shape [48, 31], config.json asks for [48, "
            "32]\n" +
            path + ": tensor \"model.norm.weight\" is missing\n" + path +
            ": tensor \"model.layers.1.mlp.up_proj.weight\" is no part of the model that config.json "
            "describes");
}

TEST_CASE("Weights: values that are not finite, and a tied head that is another, are refused") {
  const TemporaryFolder place;
  auto spec = small_job(1, 1);
  auto weights = initial_weights(spec);
  weights["model.norm.weight"] = weights["model.norm.weight"].clone();
  weights["model.norm.weight"][3] = INFINITY;
  const std::string path = place.path("m");
  write_folder(path, spec.model, weights);
  Stage stage(spec, 0, {});
  CHECK(load_stage(must_open(path), stage).message() ==
        path +
            ": tensor \"model.norm.weight\" has an element that is not finite; the file is damaged, or its "
            "training failed");

  spec.model.tie_word_embeddings = true;
  weights = initial_weights(spec);
  weights["lm_head.weight"] = weights["model.embed_tokens.weight"];
  write_folder(path, spec.model, weights);
  Stage tied(spec, 0, {});
  CHECK(load_stage(must_open(path), tied).ok());
  weights["lm_head.weight"] = weights["lm_head.weight"] + 1;
  write_folder(path, spec.model, weights);
  CHECK(load_stage(must_open(path), tied).message() ==
        path +
            ": tensor \"lm_head.weight\" is not \"model.embed_tokens.weight\", though config.json says "
            "\"tie_word_embeddings\"");
}

}  // namespace sidestep::daemon

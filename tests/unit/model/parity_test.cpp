// Our stages against Hugging Face's LlamaForCausalLM: weights, tokens and what transformers computed for them
// are in tests/fixtures/parity, written by scripts/parity-fixture.
#include <cstring>

#include "daemon/data/hf_folder.h"
#include "daemon/model/weights.h"
#include "tests/unit/model/small_job.h"
#include "tests/unit/torch/catch.h"

namespace sidestep::daemon {
namespace {

using namespace testing;

// Of the largest value of each tensor.
constexpr double tolerance = 1e-4;

struct Split {
  std::int64_t stages;
  bool stage_0_layers;
};

at::Tensor read_tensor(const SafetensorsFile& file, const std::string& name) {
  INFO(name);
  const StoredTensor& stored = file.content().tensors.at(name);
  at::Tensor tensor =
      at::empty(stored.info.shape,
                at::TensorOptions().dtype(stored.info.type == ElementType::i64 ? at::kLong : at::kFloat));
  REQUIRE(tensor.nbytes() == stored.bytes.size());
  std::memcpy(tensor.mutable_data_ptr(), stored.bytes.data(), stored.bytes.size());
  return tensor;
}

void check_parity(const std::string& name, const Split& split) {
  const std::string path = std::string(SIDESTEP_SOURCE_DIR) + "/tests/fixtures/parity/" + name;
  const auto folder = HfFolder::open(path);
  INFO(folder.status().message());
  REQUIRE(folder.ok());
  const auto opened = SafetensorsFile::open(path + "/expected.safetensors");
  INFO(opened.status().message());
  REQUIRE(opened.ok());
  const SafetensorsFile& expected = *opened.value();
  const at::Tensor tokens = read_tensor(expected, "tokens");

  scheduler::JobSpec spec = small_job(split.stages);
  spec.model = folder.value().model();
  spec.pipeline.stage_0_layers = split.stage_0_layers;
  spec.pipeline.microbatch_size = tokens.size(0);
  spec.data.sequence_length = tokens.size(1) - 1;
  std::vector<Stage> stages;
  for (std::int64_t i = 0; i < split.stages; ++i) {
    const Status loaded = load_stage(folder.value(), stages.emplace_back(spec, i, StageOptions{}));
    INFO(loaded.message());
    REQUIRE(loaded.ok());
  }

  std::vector<StageActivations> kept(stages.size());
  at::Tensor x = inputs_of(tokens);
  for (std::size_t i = 0; i < stages.size(); ++i) x = stages[i].forward(x, &kept[i], false);
  CHECK(difference(stages[0].logits(x), read_tensor(expected, "logits")) < tolerance);
  const HeadResult head = stages[0].head(x, targets_of(tokens), true, true);
  CHECK(head.loss == Approx(read_tensor(expected, "loss").item<double>()).epsilon(tolerance));
  at::Tensor gradient = head.gradient;
  for (std::size_t i = stages.size(); i-- > 0;) gradient = stages[i].backward(kept[i], gradient, true);

  std::size_t compared = 0;
  for (Stage& stage : stages)
    for (const Parameter& parameter : stage.layout().parameters) {
      INFO(parameter.name);
      const at::Tensor theirs = read_tensor(expected, "gradient." + parameter.name);
      CHECK(difference(view_of(stage.gradient(), parameter), theirs) < tolerance);
      ++compared;
    }
  CHECK(compared + 3 == expected.content().tensors.size());  // tokens, logits and loss besides
}

}  // namespace

TEST_CASE("Parity: grouped-query attention gives transformers' logits, loss and gradients") {
  check_parity("grouped_query", {1, true});
  check_parity("grouped_query", {2, true});
}

TEST_CASE("Parity: tied embeddings give transformers' logits, loss and gradients") {
  check_parity("tied", {1, true});
  check_parity("tied", {2, true});
}

TEST_CASE("Parity: heads wider than hidden_size / num_attention_heads, another rope_theta") {
  check_parity("wide_heads", {1, true});
  check_parity("wide_heads", {2, true});
}

TEST_CASE("Parity: three layers, tied, on one stage, on three, and with a stage 0 that holds none") {
  check_parity("tied_grouped_query", {1, true});
  check_parity("tied_grouped_query", {3, true});
  check_parity("tied_grouped_query", {2, false});
}

}  // namespace sidestep::daemon

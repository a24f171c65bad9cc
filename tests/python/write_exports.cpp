// Writes exports of small models with weights from a seed, and the logits that this program computes with
// them: FOLDER/NAME/ and FOLDER/NAME.expected.safetensors with "tokens" [2, 16] and "logits" [2, 16, vocab].
// With a NAME that is there already, the logits of that one alone.
#include <cstdio>
#include <filesystem>

#include "daemon/data/hf_export.h"
#include "daemon/data/hf_folder.h"
#include "daemon/model/weights.h"
#include "tests/unit/model/small_job.h"

using namespace sidestep;
using namespace sidestep::daemon;

namespace {

struct Case {
  std::string name;
  scheduler::JobSpec spec;
  HfExportOptions options;
};

net::Payload payload_of(const at::Tensor& tensor) {
  const at::Tensor bytes = tensor.contiguous();
  const auto* data = static_cast<const std::byte*>(bytes.const_data_ptr());
  return {std::make_shared<at::Tensor>(bytes), data, bytes.nbytes()};
}

scheduler::JobSpec job_of(std::int64_t stages, std::int64_t layers) {
  scheduler::JobSpec spec = testing::small_job(stages, layers);
  spec.pipeline.microbatch_size = 2;
  spec.data.sequence_length = 16;
  spec.model.max_position_embeddings = 16;
  return spec;
}

std::vector<Case> cases() {
  Case plain{"one_file", job_of(1, 2), {}};
  Case sharded{"several_files", job_of(3, 3), {.shard_bytes_max = 20'000}};
  sharded.spec.model.tie_word_embeddings = true;
  sharded.spec.model.head_dim = 12;
  sharded.spec.model.rope_theta = 300;
  sharded.spec.model.rms_norm_eps = 1e-3;
  return {plain, sharded};
}

Status write_expected(const std::string& name, const std::filesystem::path& folder,
                      const std::map<std::string, at::Tensor>& expected) {
  return write_safetensors(
      (folder / (name + ".expected.safetensors")).string(),
      {{.name = "tokens", .type = ElementType::i64, .shape = expected.at("tokens").sizes().vec()},
       {.name = "logits", .type = ElementType::f32, .shape = expected.at("logits").sizes().vec()}},
      [&](const TensorInfo& tensor) -> Result<net::Payload> { return payload_of(expected.at(tensor.name)); });
}

Status write_case(const Case& wanted, const std::filesystem::path& folder) {
  const scheduler::JobSpec& spec = wanted.spec;
  std::vector<Stage> stages;
  std::map<std::string, at::Tensor> weights;
  for (std::int64_t i = 0; i < spec.pipeline.stages; ++i)
    weights.merge(weights_by_name(stages.emplace_back(spec, i, StageOptions{})));
  const Status written = write_hf_folder(
      (folder / wanted.name).string(), spec.model, model_tensors(spec.model, ElementType::f32),
      [&](const TensorInfo& tensor) -> Result<net::Payload> { return payload_of(weights.at(tensor.name)); },
      wanted.options);
  if (!written.ok()) return written;

  const at::Tensor tokens = testing::inputs_of(testing::random_tokens(spec, 3));
  at::Tensor x = tokens;
  for (Stage& stage : stages) x = stage.forward(x, nullptr, false);
  const std::map<std::string, at::Tensor> expected{{"tokens", tokens}, {"logits", stages[0].logits(x)}};
  return write_expected(wanted.name, folder, expected);
}

// The logits of an export that somebody else wrote.
Status write_expected_of(const std::string& name, const std::filesystem::path& folder) {
  const auto opened = HfFolder::open((folder / name).string());
  if (!opened.ok()) return opened.status();
  scheduler::JobSpec spec = job_of(1, opened.value().model().num_hidden_layers);
  spec.model = opened.value().model();
  Stage stage(spec, 0, StageOptions{});
  if (Status status = load_stage(opened.value(), stage); !status.ok()) return status;
  const at::Tensor tokens = testing::inputs_of(testing::random_tokens(spec, 3));
  return write_expected(
      name, folder, {{"tokens", tokens}, {"logits", stage.logits(stage.forward(tokens, nullptr, false))}});
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2 && count != 3) {
    std::fprintf(stderr, "usage: %s FOLDER [NAME]\n", arguments[0]);
    return 2;
  }
  if (count == 3) {
    const Status status = write_expected_of(arguments[2], arguments[1]);
    if (!status.ok()) std::fprintf(stderr, "%s\n", status.message().c_str());
    return status.ok() ? 0 : 1;
  }
  for (const Case& wanted : cases()) {
    const Status status = write_case(wanted, arguments[1]);
    if (status.ok()) continue;
    std::fprintf(stderr, "%s: %s\n", wanted.name.c_str(), status.message().c_str());
    return 1;
  }
  return 0;
}

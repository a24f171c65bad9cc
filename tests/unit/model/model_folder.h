// Hugging Face folders of small models, for tests that read one.
#pragma once

#include <map>
#include <string>

#include "daemon/data/hf_export.h"
#include "daemon/model/weights.h"
#include "tests/unit/torch/catch.h"

namespace sidestep::daemon::testing {

inline net::Payload payload_of(const at::Tensor& tensor) {
  const at::Tensor bytes = tensor.contiguous();
  return {std::make_shared<at::Tensor>(bytes), static_cast<const std::byte*>(bytes.const_data_ptr()),
          bytes.nbytes()};
}

// As the job's seed says.
inline std::map<std::string, at::Tensor> initial_weights(const scheduler::JobSpec& spec) {
  std::map<std::string, at::Tensor> all;
  for (std::int64_t i = 0; i < spec.pipeline.stages; ++i) {
    Stage stage(spec, i, {});
    all.merge(weights_by_name(stage));
  }
  return all;
}

// Writes all of `weights`, in the model's shapes or any other.
inline void write_folder(const std::string& path, const scheduler::ModelSpec& model,
                         const std::map<std::string, at::Tensor>& weights,
                         ElementType type = ElementType::f32,
                         const HfExportOptions& options = {.shard_bytes_max = 30'000}) {
  std::vector<TensorInfo> tensors;
  for (const auto& [name, tensor] : weights)
    tensors.push_back({.name = name, .type = type, .shape = tensor.sizes().vec()});
  const auto scalar = type == ElementType::bf16 ? at::kBFloat16 : at::kFloat;
  const Status status = write_hf_folder(
      path, model, tensors,
      [&](const TensorInfo& tensor) -> Result<net::Payload> {
        return payload_of(weights.at(tensor.name).to(scalar));
      },
      options);
  INFO(status.message());
  REQUIRE(status.ok());
}

inline HfFolder must_open(const std::string& path) {
  auto folder = HfFolder::open(path);
  INFO(folder.status().message());
  REQUIRE(folder.ok());
  return folder.value();
}

}  // namespace sidestep::daemon::testing

#include "daemon/model/stage_files.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <fstream>
#include <map>
#include <memory>
#include <span>

#include "daemon/data/mapped_file.h"
#include "daemon/executor/tensors.h"
#include "daemon/model/parameters.h"
#include "net/assert.h"
#include "recovery/weighted_average.h"

namespace sidestep::daemon {

namespace {

// Errors: missing, or of another length than the stage's parameters take.
Result<std::shared_ptr<const MappedFile>> open_stage(const std::string& path, const ParameterLayout& layout,
                                                     std::size_t stage) {
  auto file = MappedFile::open(path);
  if (!file.ok()) return file.status();
  const std::size_t wanted = static_cast<std::size_t>(layout.elements) * sizeof(float);
  if (file.value()->bytes().size() != wanted)
    return Status::invalid(path + ": has " + std::to_string(file.value()->bytes().size()) + " bytes, stage " +
                           std::to_string(stage) + " takes " + std::to_string(wanted));
  return file;
}

std::span<const float> values_of(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

}  // namespace

Result<TensorSource> stage_file_source(const scheduler::JobSpec& spec,
                                       const std::vector<std::string>& files) {
  SIDESTEP_ASSERT(files.size() == static_cast<std::size_t>(spec.pipeline.stages));
  std::map<std::string, net::Payload> parameters;  // float32
  for (std::size_t stage = 0; stage < files.size(); ++stage) {
    const ParameterLayout layout = ParameterLayout::of_stage(spec, static_cast<std::int64_t>(stage));
    const auto file = open_stage(files[stage], layout, stage);
    if (!file.ok()) return file.status();
    const auto bytes = file.value()->bytes();
    const net::Payload whole(file.value(), bytes.data(), bytes.size());
    for (const Parameter& parameter : layout.parameters)
      parameters.emplace(parameter.name,
                         whole.slice(static_cast<std::size_t>(parameter.offset) * sizeof(float),
                                     static_cast<std::size_t>(parameter.elements()) * sizeof(float)));
  }
  return TensorSource([parameters = std::move(parameters)](const TensorInfo& wanted) -> Result<net::Payload> {
    const net::Payload& stored = parameters.at(wanted.name);
    if (wanted.type == ElementType::f32) return stored;
    SIDESTEP_ASSERT(wanted.type == ElementType::bf16);
    const auto values = from_wire({net::DType::float32, wanted.shape, stored}, /*aligned=*/false);
    if (!values.ok()) return values.status();
    return to_wire(values.value().to(at::kBFloat16)).payload;
  });
}

Status write_rebuilt_stage(const scheduler::JobSpec& spec, std::uint32_t stage,
                           const std::vector<scheduler::RecordRecovery::Source>& sources,
                           const std::vector<std::string>& files) {
  SIDESTEP_ASSERT(stage > 0 && stage < files.size());
  const ParameterLayout layout = ParameterLayout::of_stage(spec, stage);
  at::Tensor rebuilt = at::empty({layout.elements}, at::TensorOptions().dtype(at::kFloat));
  std::vector<std::shared_ptr<const MappedFile>> held;
  std::vector<at::Tensor> layers;
  std::vector<recovery::Weighted> weighted;
  for (const auto& source : sources) {
    const ParameterLayout of_source = ParameterLayout::of_stage(spec, source.stage);
    auto file = open_stage(files[source.stage], of_source, source.stage);
    if (!file.ok()) return file.status();
    held.push_back(std::move(file).value());
    // Only read.
    auto* bytes = const_cast<std::byte*>(held.back()->bytes().data());
    const at::Tensor flat = at::from_blob(bytes, {of_source.elements}, at::TensorOptions().dtype(at::kFloat));
    layers.push_back(layers_of(flat, of_source));
    weighted.push_back({values_of(layers.back()), source.weight});
  }
  if (sources.empty())
    initialize(layout, spec.seed, spec.model.initializer_range, rebuilt);
  else
    recovery::weighted_average(
        weighted, {rebuilt.mutable_data_ptr<float>(), static_cast<std::size_t>(layout.elements)});
  const auto values = values_of(rebuilt);
  std::ofstream file(files[stage], std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size_bytes()));
  file.close();
  if (!file) return Status::io(files[stage] + ": cannot be written");
  return {};
}

}  // namespace sidestep::daemon

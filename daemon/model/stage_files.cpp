#include "daemon/model/stage_files.h"

#include <ATen/ops/from_blob.h>

#include <map>

#include "daemon/data/mapped_file.h"
#include "daemon/executor/tensors.h"
#include "daemon/model/parameters.h"
#include "net/assert.h"

namespace sidestep::daemon {

Result<TensorSource> stage_file_source(const scheduler::JobSpec& spec,
                                       const std::vector<std::string>& files) {
  SIDESTEP_ASSERT(files.size() == static_cast<std::size_t>(spec.pipeline.stages));
  std::map<std::string, net::Payload> parameters;  // float32
  for (std::size_t stage = 0; stage < files.size(); ++stage) {
    const auto file = MappedFile::open(files[stage]);
    if (!file.ok()) return file.status();
    const auto bytes = file.value()->bytes();
    const ParameterLayout layout = ParameterLayout::of_stage(spec, static_cast<std::int64_t>(stage));
    if (bytes.size() != static_cast<std::size_t>(layout.elements) * sizeof(float))
      return Status::invalid(files[stage] + ": has " + std::to_string(bytes.size()) + " bytes, stage " +
                             std::to_string(stage) + " takes " +
                             std::to_string(static_cast<std::size_t>(layout.elements) * sizeof(float)));
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

}  // namespace sidestep::daemon

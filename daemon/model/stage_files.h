// Parameters out of files that hold a stage's flat weights each, as snapshots are pulled.
#pragma once

#include <string>
#include <vector>

#include "daemon/data/safetensors_writer.h"
#include "net/status.h"
#include "scheduler/job.h"
#include "scheduler/record.h"

namespace sidestep::daemon {

// Gives the tensors of model_tensors(spec.model, type) for write_hf_folder, of type F32 or BF16, rounded to
// the nearest. `files[s]` holds stage s: float32, in the order of ParameterLayout, nothing else. They are
// mapped, and stay so while the source lives. Errors: a file that is missing or of another length.
Result<TensorSource> stage_file_source(const scheduler::JobSpec& spec, const std::vector<std::string>& files);

// Writes the file of a stage above 0 that nobody has saved: its layers as the weighted average of those of
// the sources, whose files are there (recovery/weighted_average.h); without sources, weights of a fresh job.
// Errors: a source's file that is missing or of another length; the disk's.
Status write_rebuilt_stage(const scheduler::JobSpec& spec, std::uint32_t stage,
                           const std::vector<scheduler::RecordRecovery::Source>& sources,
                           const std::vector<std::string>& files);

}  // namespace sidestep::daemon

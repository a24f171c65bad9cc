// Writing a folder that transformers loads (hf_folder.h).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "daemon/data/hf_config.h"
#include "daemon/data/safetensors_writer.h"
#include "net/status.h"
#include "scheduler/job.h"

namespace sidestep::daemon {

struct HfExportOptions {
  // Tensors in one weight file, bytes; a larger tensor has a file of its own.
  std::uint64_t shard_bytes_max = 5'000'000'000;
  // A folder whose tokenizer and generation_config.json come along, as far as there are any. Empty: none.
  // Where it has none, those of the export that is replaced stay.
  std::string companions = {};
  ExportNotes notes = {};
  // Of stages that were lost and rebuilt: becomes the file sidestep_recoveries.json. Null: there is none.
  nlohmann::json recoveries = {};
};

// Whether an export may be written there: nothing is there, or an export. Errors: refused, with what else is
// in the folder; io.
Status check_export_place(const std::string& path);

// Writes `tensors`, all of one type, under `path`. The folder appears, or takes the place of an older export,
// when it is whole; after a failure what was there is there still. Failures: a folder that holds anything but
// an export is refused, with the name of what else is in it; the source's; the disk's.
Status write_hf_folder(const std::string& path, const scheduler::ModelSpec& model,
                       const std::vector<TensorInfo>& tensors, const TensorSource& source,
                       const HfExportOptions& options);

}  // namespace sidestep::daemon

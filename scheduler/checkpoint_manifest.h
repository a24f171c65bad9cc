// What makes a folder of stage files a checkpoint: it is written last, when every stage is there.
//
//   JOB'S FOLDER/COMMIT-EPOCH/checkpoint.json       this
//   JOB'S FOLDER/COMMIT-EPOCH/stage-N.safetensors   daemon/data/checkpoint_folder.h
//
// Values.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "net/status.h"
#include "scheduler/job.h"

namespace sidestep::scheduler {

struct CheckpointManifest {
  struct Stage {
    std::uint32_t stage = 0;
    std::uint64_t elements = 0;
    std::string digest;  // "sha256:…" of its weights
    bool operator==(const Stage&) const = default;
  };

  std::string job;
  std::uint64_t commit = 0;     // the state is that after this step's update
  std::int64_t written_us = 0;  // wall clock: of two of one folder the later is the newer
  nlohmann::json spec;          // of the job that wrote it
  std::vector<Stage> stages;    // all of them, ascending
  bool operator==(const CheckpointManifest&) const = default;
};

// Of a job's checkpoint after a commit under a plan: "50-3".
std::string checkpoint_folder(std::uint64_t commit, std::uint64_t epoch);
nlohmann::json to_json(const CheckpointManifest& manifest);
// Errors: invalid, naming what is missing or of the wrong type.
Result<CheckpointManifest> parse_checkpoint_manifest(const nlohmann::json& json, const std::string& source);
// Whether this job can begin with that state: the same model, cut into the same stages.
Status check_resumable(const JobSpec& job, const CheckpointManifest& manifest, const std::string& source);

}  // namespace sidestep::scheduler

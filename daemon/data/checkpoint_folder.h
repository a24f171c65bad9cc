// A job's checkpoints in a folder that all its nodes see: the state of every stage after a commit, moments
// too.
//
//   DIRECTORY/JOB/COMMIT/stage-N.safetensors   tensors "weights", "first_moment", "second_moment", flat
//   float32
//                                              in the order of ParameterLayout; "traits", float64: updates,
//                                              norm of the last gradient, scale of the learning rate
//   DIRECTORY/JOB/COMMIT/checkpoint.json       scheduler::CheckpointManifest; without it there is no
//   checkpoint
//
// Each stage is written by one node that holds it, the manifest last, by one of them. A file appears when it
// is whole, with the SHA-256 of each tensor in it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/core/tasks.h"
#include "net/status.h"
#include "net/tensor.h"
#include "scheduler/checkpoint_manifest.h"

namespace sidestep::daemon {

// A stage as CopyState gives it.
struct StageState {
  std::vector<net::Tensor> parts;  // flat float32, in the order of SnapshotPart
  StateTraits traits;
};

// Any thread, one writer of a stage at a time. A manifest that is there is of an earlier run that wrote the
// same commit, and goes first. Errors: io, with path and the system's reason; invalid (a name that is no file
// name).
Result<scheduler::CheckpointManifest::Stage> write_checkpoint_stage(const std::string& directory,
                                                                    const std::string& job,
                                                                    std::uint64_t commit, std::uint32_t stage,
                                                                    const StageState& state);
// Makes the commit's files a checkpoint, and deletes those of the commits in `drop`. Gives the manifest's
// digest. What cannot be deleted stays. Errors: as above.
Result<std::string> seal_checkpoint(const std::string& directory, const nlohmann::json& manifest,
                                    const std::string& job, std::uint64_t commit,
                                    const std::vector<std::uint64_t>& drop);

// A checkpoint to begin with. Immutable.
class Checkpoint {
 public:
  // The one that the job resumes from: `resume.directory` itself, or of the checkpoints in it that of
  // `resume.commit`, else the one written last. It is of the job's model and stages, and its manifest has the
  // digest that the job wants. Precondition: the job names a directory. Errors: what is wrong, with the path,
  // and what to do.
  static Result<Checkpoint> open(const scheduler::JobSpec& job);

  const scheduler::CheckpointManifest& manifest() const { return manifest_; }
  const std::string& digest() const { return digest_; }  // of the manifest: "sha256:…"
  // All of a stage, compared with its digests; the tensors are the mapped file's. Errors: invalid (damaged,
  // of another size, not what the manifest says), io.
  Result<StageState> read(std::uint32_t stage) const;

 private:
  static Result<Checkpoint> read_manifest(const std::string& folder);

  std::string folder_;
  std::string digest_;
  scheduler::CheckpointManifest manifest_;
};

}  // namespace sidestep::daemon

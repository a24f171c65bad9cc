// A job's checkpoints in a folder that all its nodes see: the state of every stage after a commit, moments
// too.
//
//   JOB'S FOLDER/COMMIT-EPOCH/stage-N.safetensors   tensors "weights", "first_moment", "second_moment", flat
//                                                   float32 in the order of ParameterLayout; "traits",
//                                                   float64: updates, norm of the last gradient, scale of the
//                                                   learning rate
//   JOB'S FOLDER/COMMIT-EPOCH/checkpoint.json       scheduler::CheckpointManifest; without it there is no
//   checkpoint
//
// Each stage is written by one node that holds it, the manifest last, by one of them. A file appears when it
// is whole, with the SHA-256 of each tensor in it. Nothing is written twice: plans' numbers only grow.
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

// Any thread. Errors: io, with path and the system's reason.
Result<scheduler::CheckpointManifest::Stage> write_checkpoint_stage(const std::string& folder,
                                                                    std::uint32_t stage,
                                                                    const StageState& state);
// Any thread. Makes the files in `folder` of the job's `directory` a checkpoint, and deletes the folders of
// `drop`, which may be there or not; what cannot be deleted stays. Errors: io, as above; invalid (a name of
// `drop` is no plain name).
Status seal_checkpoint(const std::string& directory, const std::string& folder, const std::string& manifest,
                       const std::vector<std::string>& drop);

// A checkpoint to begin with. Immutable.
class Checkpoint {
 public:
  // The one that the job resumes from: `resume.directory` itself, or of the checkpoints in it the one written
  // last; of those, where the job names them, with that commit and that digest of the manifest. It is of the
  // job's model and stages. Precondition: the job names a directory. Errors: what is wrong, with the path,
  // and what to do.
  static Result<Checkpoint> open(const scheduler::JobSpec& job);

  const scheduler::CheckpointManifest& manifest() const { return manifest_; }
  const std::string& digest() const { return digest_; }  // of the manifest: "sha256:…"
  // All of a stage, compared with its digests; the tensors are the mapped file's. Errors: invalid (damaged,
  // of another size, not what the manifest says), io.
  Result<StageState> read(std::uint32_t stage) const;

 private:
  static Result<Checkpoint> read_manifest(const std::string& folder);
  bool is_wanted(const scheduler::ResumeSpec& resume) const;

  std::string folder_;
  std::string digest_;
  scheduler::CheckpointManifest manifest_;
};

}  // namespace sidestep::daemon

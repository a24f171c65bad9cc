// The folder of weights that a job begins with (its key "init_from").
#pragma once

#include <string>
#include <vector>

#include "daemon/data/dataset.h"
#include "daemon/data/hf_folder.h"
#include "net/status.h"
#include "scheduler/job.h"

namespace sidestep::daemon {

// Owner: the runner. It remembers which files it has read through, so that they are read once for the probe
// of a job and its start, and again only when they have changed.
class InitFolder {
 public:
  // The job's folder, ready for load_stage of any stage: it holds the job's model, and every tensor is there,
  // whole and finite; its content digest is the job's where the job has one. Precondition: the job names a
  // folder. Failure: what is wrong, with the path, and what to do; several lines where the models differ.
  Result<HfFolder> open(const scheduler::JobSpec& spec);
  // Content digest of the folder opened last.
  const std::string& digest() const { return digest_; }

 private:
  struct ReadFile {
    std::string path;
    FileIdentity identity;
    bool operator==(const ReadFile&) const = default;
  };
  Status read_through(const HfFolder& folder);

  std::vector<ReadFile> read_;
  std::string digest_;
};

}  // namespace sidestep::daemon

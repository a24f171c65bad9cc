// Snapshots on this node's disk: the state of its stages after a commit, one safetensors file a stage.
//
//   FOLDER/JOB/COMMIT/stage-N.safetensors     tensor "weights", flat float32 in the order of ParameterLayout
//
// Of each job the three commits written last are kept (a save may fail at another node, so that an older one
// is the newest that is whole) and the one that is known to be whole; and the jobs that wrote last. What is
// older is deleted when a new one is saved.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "daemon/data/safetensors.h"
#include "net/messages.h"
#include "net/status.h"

namespace sidestep::daemon {

struct SavedStage {
  std::uint64_t elements = 0;
  std::string digest;  // "sha256:…" of the elements' bytes
};

// Which commits of a job go once `saved` is written. `newest_first`: all that are on the disk, by the time of
// writing; not by number, for a new scheduler may give a job's name again. `keep`: known to be whole; 0:
// none.
std::vector<std::uint64_t> commits_to_delete(const std::vector<std::uint64_t>& newest_first,
                                             std::uint64_t saved, std::uint64_t keep);

// Owner: a runner; one thread. An empty folder means that this process keeps no snapshots.
class SnapshotStore {
 public:
  SnapshotStore(std::string folder, std::int64_t jobs_kept)
      : folder_(std::move(folder)), jobs_kept_(jobs_kept) {}

  // The file appears when it is whole; after a failure nothing of it is left, and older snapshots are there
  // still. `keep`: commit of a snapshot that stays, however old; 0: none. Precondition: `weights` is flat
  // float32. Errors: io, with path and the system's reason; invalid (the job's name is no file name); refused
  // (no folder).
  Result<SavedStage> save(const std::string& job, std::uint64_t commit, std::uint32_t stage,
                          const net::Tensor& weights, std::uint64_t keep = 0);

  // Elements [begin, begin + elements), flat float32; the payload is the mapped file and keeps it, also when
  // it is deleted meanwhile. Errors: not_found (no such snapshot here, or not that part of it); invalid
  // (beyond its end; a name that is no file name; a damaged file).
  Result<net::Tensor> read(const net::SliceRequest& request);

 private:
  using File = std::shared_ptr<const SafetensorsFile>;

  Result<File> open(const std::string& path);
  Result<SavedStage> write(const std::string& path, const net::Tensor& weights);
  void prune(const std::string& job, std::uint64_t saved, std::uint64_t keep);

  std::string folder_;
  std::int64_t jobs_kept_;
  std::map<std::string, File> opened_;  // by path; a few
};

}  // namespace sidestep::daemon

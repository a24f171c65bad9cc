// Stages and manifests on their way into checkpoints, written beside the tasks of a job.
#pragma once

#include <functional>
#include <future>
#include <list>
#include <vector>

#include "daemon/core/tasks.h"
#include "daemon/data/checkpoint_folder.h"

namespace sidestep::daemon {

// Owner: a runner, on its thread; a file is written on a thread of its own, out of a copy that nobody else
// has. Its end waits for those that are being written.
class CheckpointWriter {
 public:
  void write(const SaveCheckpoint& task, StageState state);
  void seal(const SealCheckpoint& task);
  // Those that are done since the last call; with `wait` all of them.
  std::vector<WrittenStage> take_written(bool wait);
  bool writing() const { return !under_way_.empty(); }
  // What comes of those under way is told to nobody.
  void disown();

 private:
  void begin(std::function<WrittenStage()> work);

  std::list<std::future<WrittenStage>> under_way_;
  std::list<std::future<WrittenStage>> disowned_;
};

}  // namespace sidestep::daemon

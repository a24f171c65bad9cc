// Stages on their way into checkpoints, written beside the tasks of a job.
#pragma once

#include <cstdint>
#include <future>
#include <list>
#include <string>
#include <vector>

#include "daemon/core/tasks.h"
#include "daemon/data/checkpoint_folder.h"

namespace sidestep::daemon {

// Owner: a runner, on its thread; a file is written on a thread of its own, out of a copy that nobody else
// has. Its end waits for those that are being written.
class CheckpointWriter {
 public:
  void write(const SaveCheckpoint& task, StageState state);
  // Those that are done since the last call; with `wait` all of them.
  std::vector<WrittenStage> take_written(bool wait);
  bool writing() const { return !under_way_.empty(); }

 private:
  std::list<std::future<WrittenStage>> under_way_;
};

}  // namespace sidestep::daemon

#include "daemon/executor/checkpoint_writer.h"

#include <chrono>
#include <utility>

namespace sidestep::daemon {
namespace {

WrittenStage write_now(const SaveCheckpoint& task, const StageState& state) {
  WrittenStage written{task.commit, task.stage, 0, {}, {}};
  auto stage = write_checkpoint_stage(task.directory, task.job, task.commit, task.stage, state);
  if (!stage.ok()) {
    written.problem = stage.status().message();
  } else {
    written.elements = stage.value().elements;
    written.digest = std::move(stage.value().digest);
  }
  return written;
}

}  // namespace

void CheckpointWriter::write(const SaveCheckpoint& task, StageState state) {
  under_way_.push_back(
      std::async(std::launch::async, [task, state = std::move(state)] { return write_now(task, state); }));
}

std::vector<WrittenStage> CheckpointWriter::take_written(bool wait) {
  std::vector<WrittenStage> written;
  for (auto one = under_way_.begin(); one != under_way_.end();) {
    if (!wait && one->wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
      ++one;
      continue;
    }
    written.push_back(one->get());
    one = under_way_.erase(one);
  }
  return written;
}

}  // namespace sidestep::daemon

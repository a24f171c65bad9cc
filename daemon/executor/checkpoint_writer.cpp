#include "daemon/executor/checkpoint_writer.h"

#include <chrono>
#include <exception>
#include <memory>
#include <utility>

namespace sidestep::daemon {
namespace {

WrittenStage write_now(const SaveCheckpoint& task, const StageState& state) {
  WrittenStage written{task.commit, task.epoch, task.stage, 0, {}, {}};
  try {
    auto stage = write_checkpoint_stage(task.folder, task.stage, state);
    if (!stage.ok()) {
      written.problem = stage.status().message();
    } else {
      written.elements = stage.value().elements;
      written.digest = std::move(stage.value().digest);
    }
  } catch (const std::exception& error) {  // memory
    written.problem = error.what();
  }
  return written;
}

WrittenStage seal_now(const SealCheckpoint& task) {
  WrittenStage written{task.commit, task.epoch, std::nullopt, 0, {}, {}};
  try {
    written.problem = seal_checkpoint(task.directory, task.folder, task.manifest, task.drop).message();
  } catch (const std::exception& error) {
    written.problem = error.what();
  }
  return written;
}

bool is_done(const std::future<WrittenStage>& one) {
  return one.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

}  // namespace

void CheckpointWriter::begin(std::function<WrittenStage()> work) {
  std::erase_if(disowned_, is_done);
  under_way_.push_back(std::async(std::launch::async, std::move(work)));
}

void CheckpointWriter::write(const SaveCheckpoint& task, StageState state) {
  const auto copy = std::make_shared<const StageState>(std::move(state));
  begin([task, copy] { return write_now(task, *copy); });
}

void CheckpointWriter::seal(const SealCheckpoint& task) {
  begin([task] { return seal_now(task); });
}

std::vector<WrittenStage> CheckpointWriter::take_written(bool wait) {
  std::vector<WrittenStage> written;
  for (auto one = under_way_.begin(); one != under_way_.end();) {
    if (wait || is_done(*one)) {
      written.push_back(one->get());
      one = under_way_.erase(one);
    } else {
      ++one;
    }
  }
  return written;
}

void CheckpointWriter::disown() { disowned_.splice(disowned_.end(), under_way_); }

}  // namespace sidestep::daemon

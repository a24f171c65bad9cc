// A job's state on its way into a checkpoint, and out of one.
#include "daemon/executor/torch_runner.h"

namespace sidestep::daemon {

Status TorchRunner::perform(const SaveCheckpoint& task, Completion& done) {
  auto held = find_stage(task.stage);
  if (!held.ok()) return held.status();
  Result<StageState> copy = copy_of(*held.value(), /*layers_alone=*/false);
  if (copy.ok())
    writer_.write(task, std::move(copy).value());
  else
    done.problem = copy.status().message();
  return {};
}

Status TorchRunner::perform(const PollCheckpoints& task, Completion& done) {
  done.written = writer_.take_written(task.wait);
  done.writing = writer_.writing();
  return {};
}

Status TorchRunner::perform(const SealCheckpoint& task, Completion&) {
  writer_.seal(task);
  return {};
}

Status TorchRunner::resume_stage(const Checkpoint& checkpoint, std::uint32_t stage, HeldStage& held) {
  const Result<StageState> state = checkpoint.read(stage);
  if (!state.ok()) return state.status();
  const std::array<at::Tensor*, 3> parts = state_of(held);
  for (std::size_t part = 0; part < parts.size(); ++part) {
    auto values = read_flat(state.value().parts[part], static_cast<std::uint64_t>(parts[part]->numel()));
    if (!values.ok()) return values.status().with_context("the checkpoint's stage " + std::to_string(stage));
    parts[part]->copy_(values.value());
  }
  take_traits(held, state.value().traits);
  return {};
}

}  // namespace sidestep::daemon

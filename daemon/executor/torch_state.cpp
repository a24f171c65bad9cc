// A stage's state on its way from node to node: copied where it is, put together where it is wanted.
#include <ATen/ops/empty.h>

#include <algorithm>

#include "daemon/executor/machine.h"
#include "daemon/executor/torch_runner.h"
#include "daemon/model/parameters.h"
#include "net/digest.h"
#include "recovery/weighted_average.h"
#include "scheduler/memory.h"

namespace sidestep::daemon {
namespace {

std::string digest_of(const net::Tensor& tensor) {
  return net::checksum({tensor.payload.data(), tensor.payload.size()});
}

}  // namespace

std::array<at::Tensor*, 3> TorchRunner::state_of(HeldStage& held) {
  return {&held.stage.weights(), &held.optimizer.first_moment(), &held.optimizer.second_moment()};
}

void TorchRunner::take_traits(HeldStage& held, const StateTraits& traits) {
  held.optimizer.set_updates(static_cast<std::int64_t>(traits.updates));
  held.optimizer.set_gradient_norm(traits.gradient_norm);
  held.optimizer.set_learning_rate_scale(traits.learning_rate_scale);
  held.stage.weights_changed();
}

Status TorchRunner::perform(const AddStage& task, Completion& done) {
  if (job_ == nullptr) return no_job();
  use_threads(job_->spec);
  if (task.stage == 0 && job_->data == nullptr)
    if (Status status = give_data(*job_); !status.ok()) return status;
  // Its state is stored in it, unless it is to stay as a fresh job makes it.
  return add_stages(*job_, {task.stage}, when_lost(*job_), done.gradient_elements);
}

Status TorchRunner::perform(const DropStage& task, Completion&) {
  if (job_ == nullptr) return no_job();
  job_->stages.erase(task.stage);
  std::erase_if(job_->kept, [&](const auto& entry) { return std::get<0>(entry.first) == task.stage; });
  return {};
}

Result<StageState> TorchRunner::copy_of(HeldStage& held, bool layers_alone) {
  std::uint64_t bytes = 0;
  for (const at::Tensor* part : state_of(held)) bytes += part->nbytes();
  // On a GPU the copy lies in the host's memory.
  const std::uint64_t used = resident_bytes();
  if (const std::uint64_t limit = memory_bytes();
      link_->device().is_cpu() && limit != 0 && used + bytes > limit)
    return Status::refused("a copy of its state needs " + scheduler::mebibytes(bytes) + " more, " +
                           scheduler::mebibytes(used) + " of " + scheduler::mebibytes(limit) + " are used");
  StageState copy;
  for (const at::Tensor* part : state_of(held)) {
    const at::Tensor wanted = layers_alone ? layers_of(*part, held.stage.layout()) : *part;
    // Layers out of a stage that holds more are a copy already.
    const bool is_view = wanted.is_alias_of(*part);
    copy.parts.push_back(to_wire(wanted.to(at::kCPU, at::kFloat, /*non_blocking=*/false, /*copy=*/is_view)));
  }
  copy.traits = {static_cast<std::uint64_t>(held.optimizer.updates()), held.optimizer.gradient_norm(),
                 held.optimizer.learning_rate_scale()};
  return copy;
}

Status TorchRunner::perform(const CopyState& task, Completion& done) {
  auto held = find_stage(task.stage);
  if (!held.ok()) return held.status();
  Result<StageState> copy = copy_of(*held.value(), task.layers_alone);
  if (!copy.ok()) {
    done.problem = copy.status().message();
    return {};
  }
  done.state = std::move(copy.value().parts);
  done.traits = copy.value().traits;
  for (const net::Tensor& part : done.state) done.digests.push_back(digest_of(part));
  return {};
}

Status TorchRunner::perform(const StoreState& task, Completion&) {
  auto held = find_stage(task.stage);
  if (!held.ok()) return held.status();
  if (task.sources.empty()) return Status::invalid("nothing to store");
  at::Tensor& whole = *state_of(*held.value()).at(static_cast<std::size_t>(task.part));
  const std::uint64_t length = task.sources.front().values.payload.size() / sizeof(float);
  auto target = slice(whole, task.begin, length);
  if (!target.ok()) return target.status();
  if (task.sources.size() == 1 && task.sources.front().weight == 1) {
    auto values = read_flat(task.sources.front().values, length);
    if (!values.ok()) return values.status();
    target.value().copy_(values.value());
    return {};
  }
  std::vector<recovery::Weighted> sources;
  for (const StoreState::Source& source : task.sources) {
    if (source.values.dtype != net::DType::float32 || source.values.payload.size() != length * sizeof(float))
      return Status::invalid("a slice of another size or type than the others");
    sources.push_back(
        {{reinterpret_cast<const float*>(source.values.payload.data()), length}, source.weight});
  }
  const at::Tensor average = at::empty({static_cast<std::int64_t>(length)}, at::kFloat);
  recovery::weighted_average(sources, {average.mutable_data_ptr<float>(), length});
  target.value().copy_(average);
  return {};
}

Status TorchRunner::perform(const FinishState& task, Completion& done) {
  auto held = find_stage(task.stage);
  if (!held.ok()) return held.status();
  // Others are compared as they arrive, if they can be.
  if (task.made_of == FinishState::MadeOf::replica)
    for (const at::Tensor* part : state_of(*held.value()))
      done.digests.push_back(digest_of(to_wire(part->to(at::kCPU, at::kFloat))));
  take_traits(*held.value(), task.traits);
  return {};
}

Status TorchRunner::perform(const CatchUp& task, Completion&) {
  auto held = find_stage(task.stage);
  if (!held.ok()) return held.status();
  if (task.average.empty()) return {};
  use_threads(job_->spec);
  AdamW& optimizer = held.value()->optimizer;
  for (const CatchUp::Part& part : task.average) {
    const std::uint64_t length = part.values.payload.size() / sizeof(float);
    auto target = slice(optimizer.average(), part.begin, length);
    if (!target.ok()) return target.status();
    auto values = read_flat(part.values, length);
    if (!values.ok()) return values.status();
    target.value().copy_(values.value());
  }
  optimizer.update(held.value()->stage.weights(),
                   job_->spec.learning_rate(static_cast<std::int64_t>(task.step)));
  held.value()->stage.weights_changed();
  return {};
}

}  // namespace sidestep::daemon

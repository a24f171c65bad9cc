// Does the work of tasks with LibTorch.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "daemon/core/task_runner.h"
#include "daemon/data/checkpoint_folder.h"
#include "daemon/data/dataset.h"
#include "daemon/data/sampler.h"
#include "daemon/data/snapshot_store.h"
#include "daemon/executor/checkpoint_writer.h"
#include "daemon/executor/host_link.h"
#include "daemon/executor/init_folder.h"
#include "daemon/executor/tensors.h"
#include "daemon/model/adamw.h"
#include "daemon/model/stage.h"

namespace sidestep::daemon {

struct TorchRunnerOptions {
  std::string device = "cpu";
  int threads = 1;                   // of one task on a CPU; a deterministic job uses one
  std::uint64_t memory_bytes = 0;    // what this process may use; 0: what the device has
  std::string snapshot_folder = {};  // empty: snapshots are refused
  std::int64_t snapshots_kept = 4;   // jobs whose snapshots stay on disk
};

// Owner: an Executor, solo or a test. It holds one job at a time, from InitJob to DropJob.
// Failure: whatever goes wrong in a task is Completion::fault; the job's state is then undefined until
// DropJob or another InitJob. Tasks for stages, microbatches or tensors that do not exist are faults too.
//
// On a CPU, tensors in completions share the runner's memory: an accumulator and an average stay as they are
// until Update; the rest is never written again.
// On a GPU they are copies in the host's pinned memory, there when the task completes; all of a task's
// kernels have ended then, so that its duration is theirs too. Weights, accumulators and averages stay on the
// GPU.
class TorchRunner : public TaskRunner {
 public:
  explicit TorchRunner(TorchRunnerOptions options);

  Completion run(TaskId id, const Task& task) override;

 private:
  // (stage, step, microbatch)
  using ForwardKey = std::tuple<std::uint32_t, std::uint64_t, std::uint32_t>;

  struct HeldStage {
    Stage stage;
    AdamW optimizer;
  };

  struct Job {
    scheduler::JobSpec spec;
    std::shared_ptr<const Dataset> data;  // null where this node is no origin
    Sampler sampler;
    std::map<std::uint32_t, HeldStage> stages;
    std::map<ForwardKey, StageActivations> kept;
  };

  // Where a stage's weights come from: what the job begins with (its seed, init_from or checkpoint), its
  // seed, or another node's state, which is stored later.
  enum class Weights { first, drawn, stored };

  Status perform(const InitJob& task, Completion& done);
  Status perform(const ProbeJob& task, Completion& done);
  Status perform(const DropJob& task, Completion& done);
  Status perform(const Forward& task, Completion& done);
  Status perform(const Head& task, Completion& done);
  Status perform(const Backward& task, Completion& done);
  Status perform(const Forget& task, Completion& done);
  Status perform(const ExposeGradient& task, Completion& done);
  Status perform(const Reduce& task, Completion& done);
  Status perform(const StoreAverage& task, Completion& done);
  Status perform(const MeasureAverage& task, Completion& done);
  Status perform(const Update& task, Completion& done);
  Status perform(const AbandonStep& task, Completion& done);
  Status perform(const SaveSnapshot& task, Completion& done);
  Status perform(const ReadSlice& task, Completion& done);
  // torch_state.cpp: a stage's state on its way from node to node.
  Status perform(const AddStage& task, Completion& done);
  Status perform(const DropStage& task, Completion& done);
  Status perform(const CopyState& task, Completion& done);
  Status perform(const StoreState& task, Completion& done);
  Status perform(const FinishState& task, Completion& done);
  Status perform(const CatchUp& task, Completion& done);
  // torch_checkpoint.cpp
  Status perform(const SaveCheckpoint& task, Completion& done);
  Status perform(const PollCheckpoints& task, Completion& done);
  Status perform(const SealCheckpoint& task, Completion& done);
  Status resume_stage(const Checkpoint& checkpoint, std::uint32_t stage, HeldStage& held);
  // Copies the stage's state into the host's memory. Not ok: refused, it does not fit.
  Result<StageState> copy_of(HeldStage& held, bool layers_alone);

  // Makes the device usable; before anything of a job is allocated.
  Status open();
  void use_threads(const scheduler::JobSpec& spec);
  StageOptions stage_options(const scheduler::JobSpec& spec) const;
  // Fills in layer_us and head_us. `spec` has one layer, at stage 1.
  void measure_speed(const scheduler::JobSpec& spec, Completion& done) const;
  std::uint64_t memory_bytes() const;
  // The job's data, opened again only if the file has changed since.
  Result<std::shared_ptr<const Dataset>> open_data(const scheduler::JobSpec& spec);

  // Makes the job's stages beside those that it has. Gives their numbers of parameters.
  Status add_stages(Job& job, const std::vector<std::uint32_t>& stages, Weights with,
                    std::vector<std::uint64_t>& elements);
  Status give_data(Job& job);
  static Status no_job();
  Result<HeldStage*> find_stage(std::uint32_t stage);
  static Weights when_lost(const Job& job) {
    return job.spec.recovery.weights == "random" ? Weights::drawn : Weights::stored;
  }
  // What a state has beside its parts, which are there.
  static void take_traits(HeldStage& held, const StateTraits& traits);
  // Weights, first moment, second moment.
  static std::array<at::Tensor*, 3> state_of(HeldStage& held);
  // [microbatch_size, sequence_length + 1] int64 on the device.
  Result<at::Tensor> read_tokens(std::uint64_t step, std::uint32_t microbatch, bool evaluation);
  // An activation or its gradient, of the job's precision and shape, on the device.
  Result<at::Tensor> read_activation(const net::Tensor& tensor, const char* what);
  // A flat float32 tensor of `length` elements, on the device.
  Result<at::Tensor> read_flat(const net::Tensor& tensor, std::uint64_t length);
  net::Tensor send(const at::Tensor& tensor) { return to_wire(link_->to_host(tensor)); }
  // Elements [begin, begin + length) of a flat buffer of the stage's.
  Result<at::Tensor> slice(const at::Tensor& flat, std::uint64_t begin, std::uint64_t length) const;

  TorchRunnerOptions options_;
  SnapshotStore snapshots_;
  std::unique_ptr<HostLink> link_;  // there from the first job on
  std::thread::id thread_;          // that the number of threads was set for
  int threads_set_ = 0;
  std::unique_ptr<Job> job_;
  std::string data_key_;  // what data_ was opened for
  std::shared_ptr<const Dataset> data_;
  InitFolder init_folder_;
  CheckpointWriter writer_;
};

}  // namespace sidestep::daemon

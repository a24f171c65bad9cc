// A TaskRunner that computes on integers instead of tensors: weights are 64 bits, an activation is a hash of
// its input and the weights, a gradient a handful of floats that depend on everything before. So replicas,
// replays and losses agree exactly if the protocol is right and differ at once if it is not. It also checks
// how it is used: what must not happen is noted in the trace and fails the task.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "daemon/core/task_runner.h"
#include "net/random.h"

namespace sidestep::sim {

// A folder that all nodes of a cluster see.
struct FakeFolder {
  struct Stage {
    std::uint64_t weights = 0;
    daemon::StateTraits traits;
  };
  std::map<std::string, std::map<std::uint32_t, Stage>> stages;  // by folder of the checkpoint
  std::map<std::string, std::string> manifests;
  std::set<std::string> damaged;  // folders whose stages cannot be read
  bool full = false;              // nothing can be written
};

struct FakeOptions {
  std::uint64_t seed = 1;   // of task durations
  double speed = 1;         // divides durations
  bool exact_sums = true;   // small integers: sums are the same in every order; else the order matters
  bool limit_slots = true;  // a node has the job's slots; a replay holds what it likes
  bool has_data = true;
  std::uint64_t non_finite_step = 0;        // the averages of this step are not finite
  std::uint64_t non_finite_last = 0;        // nor those of the steps after it, up to this one
  std::shared_ptr<FakeFolder> folder = {};  // for checkpoints
};

// What one runner did in one job.
struct FakeJob {
  std::string name;
  std::uint64_t updates = 0;                                                // Update tasks
  std::map<std::uint64_t, std::map<std::uint32_t, std::uint64_t>> weights;  // by step, stage; step 0: fresh
  std::map<std::uint64_t, std::map<std::uint32_t, double>> scales;          // of Reduce, by step, stage
  std::uint64_t recomputed = 0;                                             // forwards that did not save
  bool dropped = false;
  std::uint64_t activations_at_drop = 0;  // kept for a backward that never came
};

// Outlives the runner; shared with whoever checks.
struct FakeTrace {
  std::vector<FakeJob> jobs;  // one for each InitJob
  std::vector<std::string> violations;
  std::int64_t live_tensors = 0;  // given out and not freed
  std::map<std::tuple<std::string, std::uint64_t, std::uint32_t>, std::vector<float>>
      disk;                                                 // job, commit, stage
  bool disk_full = false;                                   // no snapshot is saved
  int lessons_failing = 0;                                  // so many AddStage tasks fail
  std::map<std::string, std::vector<std::uint64_t>> saved;  // commits on it, by job, the one saved last first
};

// What a snapshot of a stage with these weights holds.
std::vector<float> snapshot_of(std::uint64_t weights, std::uint32_t stage);

class FakeRunner : public daemon::TaskRunner {
 public:
  FakeRunner(FakeOptions options, std::shared_ptr<FakeTrace> trace);

  // Completion::duration_us is drawn; nothing takes real time.
  daemon::Completion run(daemon::TaskId id, const daemon::Task& task) override;

 private:
  struct Kept {
    std::uint64_t input = 0;
    bool saved = false;
  };
  struct Stage {
    std::uint64_t weights = 0;
    std::vector<float> accumulator;
    std::vector<float> average;
    std::vector<bool> covered;                       // elements of the average
    std::set<std::pair<std::uint32_t, bool>> added;  // microbatch, head
    bool exposed = false;
    bool measured = false;
    std::uint64_t updates = 0;
    bool unused = false;  // learned or rebuilt, and nothing has come through it since
    double gradient_norm = 0;
    double learning_rate_scale = 1;
    std::array<std::vector<float>, 3> stored;  // of another node's state
  };

  void perform(const daemon::InitJob& task, daemon::Completion& done);
  void perform(const daemon::ProbeJob& task, daemon::Completion& done);
  void perform(const daemon::DropJob& task, daemon::Completion& done);
  void perform(const daemon::Forward& task, daemon::Completion& done);
  void perform(const daemon::Head& task, daemon::Completion& done);
  void perform(const daemon::Backward& task, daemon::Completion& done);
  void perform(const daemon::Forget& task, daemon::Completion& done);
  void perform(const daemon::ExposeGradient& task, daemon::Completion& done);
  void perform(const daemon::Reduce& task, daemon::Completion& done);
  void perform(const daemon::StoreAverage& task, daemon::Completion& done);
  void perform(const daemon::MeasureAverage& task, daemon::Completion& done);
  void perform(const daemon::Update& task, daemon::Completion& done);
  void perform(const daemon::AbandonStep& task, daemon::Completion& done);
  void perform(const daemon::SaveSnapshot& task, daemon::Completion& done);
  void perform(const daemon::ReadSlice& task, daemon::Completion& done);
  void perform(const daemon::AddStage& task, daemon::Completion& done);
  void perform(const daemon::DropStage& task, daemon::Completion& done);
  void perform(const daemon::CopyState& task, daemon::Completion& done);
  void perform(const daemon::StoreState& task, daemon::Completion& done);
  void perform(const daemon::FinishState& task, daemon::Completion& done);
  void perform(const daemon::CatchUp& task, daemon::Completion& done);
  void perform(const daemon::SaveCheckpoint& task, daemon::Completion& done);
  void perform(const daemon::PollCheckpoints& task, daemon::Completion& done);
  void perform(const daemon::SealCheckpoint& task, daemon::Completion& done);

  // ---- fake_checkpoints.cpp
  void end_writing();
  // The folder of the checkpoint that the job resumes from; empty: there is none.
  std::string resumed_folder(const scheduler::ResumeSpec& resume) const;
  // Takes the stage's state out of it.
  void resume(std::uint32_t stage, daemon::Completion& done);
  void add_stage(std::uint32_t stage, daemon::Completion& done);
  // A stage, or a manifest, that is being written into a checkpoint, for so many more polls.
  struct Writing {
    daemon::WrittenStage written;
    std::function<void()> write;
    std::int64_t polls = 0;
  };

  void clear_step();
  static void clear(Stage& stage);
  static void update(Stage& stage);
  static std::array<std::vector<float>, 3> state_of(const Stage& stage);
  // Notes a violation and fails the task.
  void violation(daemon::Completion& done, const std::string& what);
  bool is_at(std::uint64_t step);
  // The stage, if it is held here and the task is for the step in hand; else a violation and null.
  Stage* find(daemon::Completion& done, std::uint32_t stage, std::optional<std::uint64_t> step);
  void accumulate(daemon::Completion& done, Stage& stage, std::uint32_t microbatch, bool head,
                  std::uint64_t cause);
  void cover(daemon::Completion& done, Stage& stage, std::uint64_t begin, const std::vector<float>& values);
  net::Tensor activation(std::uint64_t hash);
  net::Tensor floats(const std::vector<float>& values);
  net::Tensor wrap(net::DType dtype, std::vector<std::int64_t> shape, std::vector<std::byte> bytes);

  FakeOptions options_;
  std::shared_ptr<FakeTrace> trace_;
  net::Random random_;
  std::optional<scheduler::JobSpec> spec_;
  std::size_t job_ = 0;  // in the trace
  bool origin_ = false;
  std::uint64_t step_ = 1;
  bool joining_ = false;  // only learns a stage so far
  bool rebuilt_ = false;  // or rebuilds one
  std::map<std::uint32_t, Stage> stages_;
  std::vector<Writing> writing_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, Kept> kept_;  // by stage, microbatch
};

// A factory of runners for solo and replay that share one trace.
daemon::TaskRunnerFactory fake_factory(FakeOptions options, std::shared_ptr<FakeTrace> trace);

}  // namespace sidestep::sim

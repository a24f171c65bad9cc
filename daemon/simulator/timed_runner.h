// A TaskRunner that computes nothing: tasks take drawn times by the figures of their machine and the shapes
// of their job, and what they give is all zeros out of one shared buffer. So a thousand machines with models
// of any size fit into one process.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "daemon/core/task_runner.h"
#include "net/random.h"

namespace sidestep::sim {

// Zeros that many tensors share; nobody writes them, so the operating system gives no memory to most.
class Zeros {
 public:
  // Large enough for every tensor of the job: its activations, and the stage with the most parameters.
  explicit Zeros(const scheduler::JobSpec& job);
  // Precondition: not larger than that.
  net::Tensor tensor(net::DType dtype, std::vector<std::int64_t> shape) const;
  // SHA-256 of such a tensor; one of each length is computed once.
  std::string digest(const net::Tensor& tensor) const;

 private:
  std::shared_ptr<const std::byte> bytes_;
  std::size_t size_;
  mutable std::map<std::size_t, std::string> digests_;  // by bytes
};

// Of one machine, for one microbatch of the job.
struct TimedMachine {
  std::int64_t layer_forward_us = 0;
  std::int64_t layer_backward_us = 0;
  std::int64_t head_us = 0;
  double task_spread = 0;               // each task takes up to this much more or less
  double memory_bytes_per_us = 20'000;  // that averages, updates and copies read or write
  double factor = 1;                    // of all times; may change while tasks run
  std::uint64_t memory_bytes = 0;
  bool has_data = true;
};

class TimedRunner : public daemon::TaskRunner {
 public:
  // Of every task beside.
  static constexpr std::int64_t task_us_min = 20;

  TimedRunner(std::shared_ptr<const TimedMachine> machine, std::shared_ptr<const Zeros> zeros,
              std::uint64_t seed);

  daemon::Completion run(daemon::TaskId id, const daemon::Task& task) override;

 private:
  // Each fills in what the task gives and returns how long it takes on average, in microseconds.
  double perform(const daemon::InitJob& task, daemon::Completion& done);
  double perform(const daemon::ProbeJob& task, daemon::Completion& done);
  double perform(const daemon::DropJob& task, daemon::Completion& done);
  double perform(const daemon::Forward& task, daemon::Completion& done);
  double perform(const daemon::Head& task, daemon::Completion& done);
  double perform(const daemon::Backward& task, daemon::Completion& done);
  double perform(const daemon::Forget& task, daemon::Completion& done);
  double perform(const daemon::ExposeGradient& task, daemon::Completion& done);
  double perform(const daemon::Reduce& task, daemon::Completion& done);
  double perform(const daemon::StoreAverage& task, daemon::Completion& done);
  double perform(const daemon::MeasureAverage& task, daemon::Completion& done);
  double perform(const daemon::Update& task, daemon::Completion& done);
  double perform(const daemon::AbandonStep& task, daemon::Completion& done);
  double perform(const daemon::SaveSnapshot& task, daemon::Completion& done);
  double perform(const daemon::ReadSlice& task, daemon::Completion& done);
  double perform(const daemon::AddStage& task, daemon::Completion& done);
  double perform(const daemon::DropStage& task, daemon::Completion& done);
  double perform(const daemon::CopyState& task, daemon::Completion& done);
  double perform(const daemon::StoreState& task, daemon::Completion& done);
  double perform(const daemon::FinishState& task, daemon::Completion& done);
  double perform(const daemon::CatchUp& task, daemon::Completion& done);
  double perform(const daemon::SaveCheckpoint& task, daemon::Completion& done);
  double perform(const daemon::PollCheckpoints& task, daemon::Completion& done);
  double perform(const daemon::SealCheckpoint& task, daemon::Completion& done);

  double add_stage(std::uint32_t stage, daemon::Completion& done);
  double layers(std::uint32_t stage) const;
  net::Tensor activation() const;
  net::Tensor floats(std::uint64_t elements) const;
  // To read or write a stage's flat gradient, or so many elements, so many times.
  double passes_us(std::uint32_t stage, double passes) const;
  double memory_us(std::uint64_t elements, double passes) const;

  std::shared_ptr<const TimedMachine> machine_;
  std::shared_ptr<const Zeros> zeros_;
  net::Random random_;
  std::optional<scheduler::JobSpec> spec_;
  std::map<std::uint32_t, std::uint64_t> elements_;            // by stage held
  std::set<std::pair<std::uint32_t, std::uint32_t>> unsaved_;  // stage, microbatch
  std::vector<daemon::WrittenStage> written_;
  std::uint64_t updates_ = 0;
};

}  // namespace sidestep::sim

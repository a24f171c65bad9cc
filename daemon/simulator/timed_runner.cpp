#include "daemon/simulator/timed_runner.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "net/digest.h"
#include "scheduler/memory.h"

namespace sidestep::sim {

using namespace sidestep::daemon;

namespace {

// Passes over a stage's parameters as float32: an update reads the average, reads and writes weights and two
// moments; a copy reads and writes weights and moments.
constexpr double update_passes = 7, copy_passes = 6, save_passes = 2;

std::uint64_t bytes_of(const scheduler::JobSpec& job) {
  std::uint64_t most = job.activation_bytes();
  for (std::int64_t stage = 0; stage < job.pipeline.stages; ++stage)
    most = std::max(most, scheduler::stage_parameters(job, stage) * sizeof(float));
  return most;
}

std::string same_digest() { return "sha256:" + std::string(64, '0'); }

}  // namespace

Zeros::Zeros(const scheduler::JobSpec& job) : size_(bytes_of(job)) {
  bytes_ = {static_cast<const std::byte*>(std::calloc(size_, 1)),
            [](const std::byte* bytes) { std::free(const_cast<std::byte*>(bytes)); }};
  SIDESTEP_ASSERT(bytes_ != nullptr);
}

net::Tensor Zeros::tensor(net::DType dtype, std::vector<std::int64_t> shape) const {
  std::size_t bytes = net::size_of(dtype);
  for (const std::int64_t length : shape) bytes *= static_cast<std::size_t>(length);
  SIDESTEP_ASSERT(bytes <= size_);
  return {dtype, std::move(shape), net::Payload(bytes_, bytes_.get(), bytes)};
}

std::string Zeros::digest(const net::Tensor& tensor) const {
  const auto [known, is_new] = digests_.try_emplace(tensor.payload.size());
  if (is_new) known->second = net::sha256({tensor.payload.data(), tensor.payload.size()});
  return known->second;
}

TimedRunner::TimedRunner(std::shared_ptr<const TimedMachine> machine, std::shared_ptr<const Zeros> zeros,
                         std::uint64_t seed)
    : machine_(std::move(machine)), zeros_(std::move(zeros)), random_(seed) {}

Completion TimedRunner::run(TaskId id, const Task& task) {
  Completion done;
  done.id = id;
  const double mean_us = std::visit([&](const auto& kind) { return perform(kind, done); }, task);
  const double drawn = 1 + machine_->task_spread * (2 * random_.uniform() - 1);
  done.duration_us = task_us_min + std::llround(mean_us * machine_->factor * drawn);
  return done;
}

double TimedRunner::layers(std::uint32_t stage) const {
  return static_cast<double>(spec_->layer_count(stage));
}

net::Tensor TimedRunner::activation() const {
  return zeros_->tensor(spec_->activation_dtype(), {spec_->pipeline.microbatch_size,
                                                    spec_->data.sequence_length, spec_->model.hidden_size});
}

net::Tensor TimedRunner::floats(std::uint64_t elements) const {
  return zeros_->tensor(net::DType::float32, {static_cast<std::int64_t>(elements)});
}

double TimedRunner::passes_us(std::uint32_t stage, double passes) const {
  return memory_us(elements_.at(stage), passes);
}

double TimedRunner::memory_us(std::uint64_t elements, double passes) const {
  return static_cast<double>(elements * sizeof(float)) * passes / machine_->memory_bytes_per_us;
}

double TimedRunner::add_stage(std::uint32_t stage, Completion& done) {
  elements_[stage] = scheduler::stage_parameters(*spec_, stage);
  done.gradient_elements.push_back(elements_[stage]);
  return passes_us(stage, copy_passes);
}

double TimedRunner::perform(const InitJob& task, Completion& done) {
  spec_ = task.spec;
  elements_.clear();
  unsaved_.clear();
  updates_ = 0;
  double us = 0;
  for (const std::uint32_t stage : task.stages) us += add_stage(stage, done);
  for (const std::uint32_t stage : task.learned) us += add_stage(stage, done);
  return us;
}

double TimedRunner::perform(const ProbeJob& task, Completion& done) {
  done.has_data = machine_->has_data;
  if (machine_->has_data)
    done.data_digest = task.spec.data.digest.empty() ? same_digest() : task.spec.data.digest;
  else
    done.data_problem = "the scenario gives it none";
  if (!task.spec.resume.directory.empty()) {
    done.init_digest = same_digest();
    done.init_commit = task.spec.first_commit();
  }
  if (!task.spec.init_from.empty())
    done.init_digest = task.spec.init_from_digest.empty() ? same_digest() : task.spec.init_from_digest;
  const auto slowed = [&](std::int64_t us) {
    return std::llround(static_cast<double>(us) * machine_->factor);
  };
  done.layer_us = slowed(machine_->layer_forward_us + machine_->layer_backward_us);
  done.head_us = slowed(machine_->head_us);
  done.memory_bytes = machine_->memory_bytes;
  return static_cast<double>(machine_->layer_forward_us + machine_->layer_backward_us + machine_->head_us);
}

double TimedRunner::perform(const DropJob&, Completion&) {
  spec_.reset();
  elements_.clear();
  unsaved_.clear();
  written_.clear();
  return 0;
}

double TimedRunner::perform(const Forward& task, Completion& done) {
  if (!task.evaluation && !task.save) unsaved_.insert({task.stage, task.microbatch});
  done.tensor = activation();
  return layers(task.stage) * static_cast<double>(machine_->layer_forward_us);
}

double TimedRunner::perform(const Head& task, Completion& done) {
  done.loss = std::log(static_cast<double>(spec_->model.vocab_size));  // of a model that knows nothing
  if (!task.evaluation) done.tensor = activation();
  return static_cast<double>(machine_->head_us);
}

double TimedRunner::perform(const Backward& task, Completion& done) {
  if (task.stage != 0) done.tensor = activation();
  std::int64_t layer_us = machine_->layer_backward_us;
  if (unsaved_.erase({task.stage, task.microbatch}) > 0) layer_us += machine_->layer_forward_us;
  return layers(task.stage) * static_cast<double>(layer_us);
}

double TimedRunner::perform(const Forget& task, Completion&) {
  unsaved_.erase({task.stage, task.microbatch});
  return 0;
}

double TimedRunner::perform(const ExposeGradient& task, Completion& done) {
  done.tensor = floats(elements_.at(task.stage));
  return 0;
}

double TimedRunner::perform(const Reduce& task, Completion& done) {
  if (task.give) done.tensor = floats(task.length);
  return memory_us(task.length, static_cast<double>(task.contributions.size() + 1));
}

double TimedRunner::perform(const StoreAverage& task, Completion&) {
  return memory_us(task.values.payload.size() / sizeof(float), 2);
}

double TimedRunner::perform(const MeasureAverage& task, Completion& done) {
  done.norm = 1;
  return passes_us(task.stage, 1);
}

double TimedRunner::perform(const Update& task, Completion&) {
  ++updates_;
  unsaved_.clear();
  double us = 0;
  for (const std::uint32_t stage : task.updated) us += passes_us(stage, update_passes);
  return us;
}

double TimedRunner::perform(const AbandonStep&, Completion&) {
  unsaved_.clear();
  double us = 0;
  for (const auto& [stage, elements] : elements_) us += passes_us(stage, 1);
  return us;
}

double TimedRunner::perform(const SaveSnapshot& task, Completion& done) {
  done.elements = elements_.at(task.stage);
  done.digest = same_digest();
  return passes_us(task.stage, save_passes);
}

double TimedRunner::perform(const ReadSlice& task, Completion& done) {
  done.tensor = floats(task.request.elements);
  return memory_us(task.request.elements, 1);
}

double TimedRunner::perform(const AddStage& task, Completion& done) { return add_stage(task.stage, done); }

double TimedRunner::perform(const DropStage& task, Completion&) {
  elements_.erase(task.stage);
  std::erase_if(unsaved_, [&](const auto& entry) { return entry.first == task.stage; });
  return 0;
}

double TimedRunner::perform(const CopyState& task, Completion& done) {
  const bool has_more = task.layers_alone && task.stage == 0 && spec_->pipeline.stages > 1;
  done.state.assign(net::state_parts,
                    floats(has_more ? scheduler::stage_parameters(*spec_, 1) : elements_.at(task.stage)));
  // What is rebuilt is compared slice by slice, what is learned by what FinishState says.
  done.digests.assign(net::state_parts,
                      task.layers_alone ? zeros_->digest(done.state.front()) : same_digest());
  done.traits.updates = updates_;
  return passes_us(task.stage, copy_passes);
}

double TimedRunner::perform(const StoreState& task, Completion&) {
  double us = 0;
  for (const StoreState::Source& source : task.sources)
    us += memory_us(source.values.payload.size() / sizeof(float), 2);
  return us;
}

double TimedRunner::perform(const FinishState& task, Completion& done) {
  done.digests.assign(net::state_parts, same_digest());
  return passes_us(task.stage, static_cast<double>(net::state_parts));
}

// What it takes is the copy; the folder is as quick as it is asked.
double TimedRunner::perform(const SaveCheckpoint& task, Completion&) {
  written_.push_back({task.commit, task.epoch, task.stage, elements_.at(task.stage), same_digest(), {}});
  return passes_us(task.stage, copy_passes);
}

double TimedRunner::perform(const PollCheckpoints&, Completion& done) {
  done.written = std::exchange(written_, {});
  return 0;
}

double TimedRunner::perform(const SealCheckpoint& task, Completion&) {
  written_.push_back({task.commit, task.epoch, std::nullopt, 0, {}, {}});
  return 0;
}

double TimedRunner::perform(const CatchUp& task, Completion&) {
  return task.average.empty() ? 0 : passes_us(task.stage, update_passes);
}

}  // namespace sidestep::sim

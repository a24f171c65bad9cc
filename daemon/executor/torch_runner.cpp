#include "daemon/executor/torch_runner.h"

#include <ATen/Parallel.h>
#include <ATen/ops/add.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/scalar_tensor.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <new>
#include <optional>

#include "daemon/executor/device.h"
#include "daemon/executor/task_text.h"
#include "daemon/executor/tensor_pool.h"
#include "daemon/model/weights.h"
#include "net/clock.h"
#include "scheduler/memory.h"

namespace sidestep::daemon {
namespace {

// All that a job's data depends on besides its digest, which only fills in at submission.
std::string data_key(const scheduler::JobSpec& spec) {
  nlohmann::json data = scheduler::to_json(spec).at("data");
  data.erase("digest");
  return data.dump() + " " + std::to_string(spec.model.vocab_size) +
         (spec.validation.every > 0 ? " validated" : "");
}

// Of the exception that is being handled.
Status thrown_status() {
  try {
    throw;
  } catch (const c10::Error& error) {
    return Status::internal(memory_text(error.what_without_backtrace()));
  } catch (const std::bad_alloc&) {
    return Status::internal("out of memory");
  } catch (const std::exception& error) {
    return Status::internal(error.what());
  }
}

}  // namespace

TorchRunner::TorchRunner(TorchRunnerOptions options)
    : options_(std::move(options)), snapshots_(options_.snapshot_folder, options_.snapshots_kept) {
  TensorPool::install();
}

Completion TorchRunner::run(TaskId id, const Task& task) {
  const c10::InferenceMode no_autograd;
  const std::int64_t start_us = net::monotonic_us();
  Completion done;
  Status status;
  try {
    status = std::visit([&](const auto& kind) { return perform(kind, done); }, task);
    if (link_ != nullptr) link_->wait();
  } catch (...) {
    status = thrown_status();
    // Kernels and copies of the failed task must not run into the next one, or into memory given back.
    try {
      if (link_ != nullptr) link_->wait();
    } catch (...) {  // the same failure again, which a GPU tells more than once
    }
  }
  if (!status.ok()) {
    done = {};
    done.fault = task_text(task) + ": " + status.message();
  }
  done.id = id;
  done.duration_us = net::monotonic_us() - start_us;
  return done;
}

Status TorchRunner::open() {
  if (link_ != nullptr) return {};
  const auto device = open_device(options_.device);
  if (!device.ok()) return device.status();
  link_ = std::make_unique<HostLink>(device.value());
  return {};
}

// The number of threads belongs to the calling thread, so it is set again when that changes.
void TorchRunner::use_threads(const scheduler::JobSpec& spec) {
  const int threads = spec.deterministic ? 1 : std::max(1, options_.threads);
  if (thread_ == std::this_thread::get_id() && threads_set_ == threads) return;
  at::set_num_threads(threads);
  thread_ = std::this_thread::get_id();
  threads_set_ = threads;
}

StageOptions TorchRunner::stage_options(const scheduler::JobSpec& spec) const {
  return {.device = link_->device(), .compute = compute_type(spec), .master = at::kFloat};
}

std::uint64_t TorchRunner::memory_bytes() const {
  return options_.memory_bytes != 0 ? options_.memory_bytes : device_memory_bytes(link_->device());
}

Result<std::shared_ptr<const Dataset>> TorchRunner::open_data(const scheduler::JobSpec& spec) {
  const std::string key = data_key(spec);
  if (data_ != nullptr && data_key_ == key &&
      (spec.data.digest.empty() || spec.data.digest == data_->digest()) && data_->up_to_date())
    return data_;
  auto opened = Dataset::open(spec.data, spec.model.vocab_size, spec.validation.every > 0);
  if (opened.ok()) {
    data_ = opened.value();
    data_key_ = key;
  }
  return opened;
}

Status TorchRunner::no_job() { return Status::invalid("no job is set up here"); }

Result<TorchRunner::HeldStage*> TorchRunner::find_stage(std::uint32_t stage) {
  if (job_ == nullptr) return no_job();
  const auto found = job_->stages.find(stage);
  if (found == job_->stages.end())
    return Status::invalid("this node does not hold stage " + std::to_string(stage));
  return &found->second;
}

Result<at::Tensor> TorchRunner::read_tokens(std::uint64_t step, std::uint32_t microbatch, bool evaluation) {
  if (job_->data == nullptr) return Status::invalid("this node is no origin: it has no data");
  const std::uint64_t count =
      evaluation ? job_->sampler.validation_microbatches : job_->sampler.microbatches_per_step;
  if (microbatch >= count || (step == 0 && !evaluation))
    return Status::invalid("there is no such microbatch; steps begin at 1, a step has " +
                           std::to_string(count));
  auto tokens = std::make_unique<std::vector<std::int64_t>>(
      job_->sampler.read(*job_->data, step, microbatch, evaluation));
  std::int64_t* values = tokens->data();
  const at::Tensor rows = at::from_blob(
      values, {job_->spec.pipeline.microbatch_size, job_->spec.data.sequence_length + 1},
      [owner = std::shared_ptr<void>(std::move(tokens))](void*) {}, at::TensorOptions().dtype(at::kLong));
  return link_->to_device(rows);
}

Result<at::Tensor> TorchRunner::read_activation(const net::Tensor& tensor, const char* what) {
  const scheduler::JobSpec& spec = job_->spec;
  const std::vector<std::int64_t> shape{spec.pipeline.microbatch_size, spec.data.sequence_length,
                                        spec.model.hidden_size};
  if (tensor.dtype != spec.activation_dtype() || tensor.shape != shape)
    return Status::invalid(std::string(what) + " has not the shape and type of this job's activations");
  auto read = from_wire(tensor, /*aligned=*/link_->device().is_cpu());
  if (!read.ok()) return read.status();
  return link_->to_device(read.value());
}

Result<at::Tensor> TorchRunner::read_flat(const net::Tensor& tensor, std::uint64_t length) {
  if (tensor.dtype != net::DType::float32 || tensor.shape.size() != 1 ||
      static_cast<std::uint64_t>(tensor.shape[0]) != length)
    return Status::invalid("a part of a gradient or an average is a flat float32 tensor, here of " +
                           std::to_string(length) + " elements");
  auto read = from_wire(tensor, /*aligned=*/false);
  if (!read.ok()) return read.status();
  return link_->to_device(read.value());
}

Status TorchRunner::perform(const InitJob& task, Completion& done) {
  job_.reset();
  if (Status status = open(); !status.ok()) return status;
  use_threads(task.spec);
  auto job = std::make_unique<Job>();
  job->spec = task.spec;
  job->spec.resolve_precision(link_->device().is_cuda());
  if (task.origin)
    if (Status status = give_data(*job); !status.ok()) return status;
  if (Status status = add_stages(*job, task.stages, Weights::first, done.gradient_elements); !status.ok())
    return status;
  if (Status status = add_stages(*job, task.learned, when_lost(*job), done.gradient_elements); !status.ok())
    return status;
  job_ = std::move(job);
  return {};
}

Status TorchRunner::give_data(Job& job) {
  auto data = open_data(job.spec);
  if (!data.ok()) return data.status();
  job.data = data.value();
  job.sampler = Sampler(job.spec, *job.data);
  return {};
}

Status TorchRunner::add_stages(Job& job, const std::vector<std::uint32_t>& stages, Weights with,
                               std::vector<std::uint64_t>& elements) {
  std::uint64_t needed = 0;
  for (const auto& [stage, held] : job.stages) needed += scheduler::memory_need(job.spec, stage, 1).state();
  for (const std::uint32_t stage : stages) {
    if (stage >= job.spec.pipeline.stages)
      return Status::invalid("the job has no stage " + std::to_string(stage));
    needed += scheduler::memory_need(job.spec, stage, 1).state();
  }
  if (const std::uint64_t limit = memory_bytes(); limit != 0 && needed > limit)
    return Status::refused("weights, gradients, optimizer and averaging need " +
                           scheduler::mebibytes(needed) + ", this node may use " +
                           scheduler::mebibytes(limit));
  std::optional<HfFolder> weights;
  std::optional<Checkpoint> checkpoint;
  const bool from_folder = with == Weights::first && !stages.empty();
  if (from_folder && !job.spec.resume.directory.empty()) {
    auto opened = Checkpoint::open(job.spec);
    if (!opened.ok()) return opened.status();
    checkpoint = std::move(opened).value();
  }
  if (from_folder && !job.spec.init_from.empty()) {
    auto folder = init_folder_.open(job.spec);
    if (!folder.ok()) return folder.status();
    weights = std::move(folder).value();
  }
  for (const std::uint32_t stage : stages) {
    StageOptions options = stage_options(job.spec);
    if (weights || checkpoint || with == Weights::stored) options.first_weights = FirstWeights::caller;
    Stage created(job.spec, stage, options);
    if (weights)
      if (Status status = load_stage(*weights, created); !status.ok()) return status;
    AdamW optimizer(job.spec.optimizer, created.layout(), created.weights());
    elements.push_back(static_cast<std::uint64_t>(created.layout().elements));
    HeldStage& held =
        job.stages.insert_or_assign(stage, HeldStage{std::move(created), std::move(optimizer)}).first->second;
    if (checkpoint)
      if (Status status = resume_stage(*checkpoint, stage, held); !status.ok()) return status;
  }
  return {};
}

Status TorchRunner::perform(const DropJob&, Completion&) {
  job_.reset();
  writer_.disown();
  data_.reset();
  TensorPool::install().trim();
  if (link_ != nullptr) release_cached_memory(link_->device());
  return {};
}

Status TorchRunner::perform(const Forward& task, Completion& done) {
  auto held = find_stage(task.stage);
  if (!held.ok()) return held.status();
  use_threads(job_->spec);
  at::Tensor input;
  if (task.stage == 0) {
    auto tokens = read_tokens(task.step, task.microbatch, task.evaluation);
    if (!tokens.ok()) return tokens.status();
    input = tokens.value().narrow(1, 0, job_->spec.data.sequence_length).contiguous();
  } else {
    auto activation = read_activation(task.input, "the input");
    if (!activation.ok()) return activation.status();
    input = activation.value();
  }
  Stage& stage = held.value()->stage;
  if (task.evaluation) {
    done.tensor = send(stage.forward(input, nullptr, false));
    return {};
  }
  StageActivations& kept = job_->kept[{task.stage, task.step, task.microbatch}];
  done.tensor = send(stage.forward(input, &kept, /*recompute=*/!task.save));
  return {};
}

Status TorchRunner::perform(const Head& task, Completion& done) {
  auto held = find_stage(0);
  if (!held.ok()) return held.status();
  use_threads(job_->spec);
  auto input = read_activation(task.input, "the input");
  if (!input.ok()) return input.status();
  auto tokens = read_tokens(task.step, task.microbatch, task.evaluation);
  if (!tokens.ok()) return tokens.status();
  const at::Tensor targets = tokens.value().narrow(1, 1, job_->spec.data.sequence_length);
  const HeadResult result =
      held.value()->stage.head(input.value(), targets, /*with_gradient=*/!task.evaluation, task.accumulate);
  done.loss = result.loss;
  if (result.gradient.defined()) done.tensor = send(result.gradient);
  return {};
}

Status TorchRunner::perform(const Backward& task, Completion& done) {
  auto held = find_stage(task.stage);
  if (!held.ok()) return held.status();
  use_threads(job_->spec);
  auto gradient = read_activation(task.gradient, "the gradient");
  if (!gradient.ok()) return gradient.status();
  auto kept = job_->kept.extract({task.stage, task.step, task.microbatch});
  if (kept.empty()) return Status::invalid("its forward did not run here, or its backward already did");
  const at::Tensor by_input = held.value()->stage.backward(kept.mapped(), gradient.value(), task.accumulate);
  if (by_input.defined()) done.tensor = send(by_input);
  return {};
}

Status TorchRunner::perform(const Forget& task, Completion&) {
  if (job_ == nullptr) return no_job();
  job_->kept.erase({task.stage, task.step, task.microbatch});
  return {};
}

Status TorchRunner::perform(const ExposeGradient& task, Completion& done) {
  auto held = find_stage(task.stage);
  if (!held.ok()) return held.status();
  done.tensor = send(held.value()->stage.gradient());
  return {};
}

Result<at::Tensor> TorchRunner::slice(const at::Tensor& flat, std::uint64_t begin,
                                      std::uint64_t length) const {
  const auto elements = static_cast<std::uint64_t>(flat.numel());
  if (begin > elements || length > elements - begin)
    return Status::invalid("elements " + std::to_string(begin) + " to " + std::to_string(begin + length) +
                           " are not within the stage's " + std::to_string(elements));
  return flat.narrow(0, static_cast<std::int64_t>(begin), static_cast<std::int64_t>(length));
}

Status TorchRunner::perform(const Reduce& task, Completion& done) {
  auto held = find_stage(task.stage);
  if (!held.ok()) return held.status();
  auto average = slice(held.value()->optimizer.average(), task.begin, task.length);
  if (!average.ok()) return average.status();
  if (task.contributions.empty()) return Status::invalid("there is nothing to sum");
  std::vector<at::Tensor> parts;
  for (const net::Tensor& contribution : task.contributions) {
    auto part = contribution.empty() ? slice(held.value()->stage.gradient(), task.begin, task.length)
                                     : read_flat(contribution, task.length);
    if (!part.ok()) return part.status();
    parts.push_back(std::move(part).value());
  }
  use_threads(job_->spec);
  at::Tensor& sum = average.value();
  if (parts.size() == 1) {
    at::mul_out(sum, parts[0], at::scalar_tensor(task.scale));
  } else {
    at::add_out(sum, parts[0], parts[1]);
    for (std::size_t i = 2; i < parts.size(); ++i) sum.add_(parts[i]);
    if (task.scale != 1) sum.mul_(task.scale);
  }
  // A copy: a newcomer may be given it after the update here, which clips the average in place.
  if (task.give) done.tensor = send(link_->device().is_cpu() ? sum.clone() : sum);
  return {};
}

Status TorchRunner::perform(const StoreAverage& task, Completion&) {
  auto held = find_stage(task.stage);
  if (!held.ok()) return held.status();
  const std::uint64_t length = task.values.payload.size() / net::size_of(net::DType::float32);
  auto average = slice(held.value()->optimizer.average(), task.begin, length);
  if (!average.ok()) return average.status();
  auto values = read_flat(task.values, length);
  if (!values.ok()) return values.status();
  average.value().copy_(values.value());
  return {};
}

Status TorchRunner::perform(const MeasureAverage& task, Completion& done) {
  auto held = find_stage(task.stage);
  if (!held.ok()) return held.status();
  use_threads(job_->spec);
  done.norm = held.value()->optimizer.norm();
  done.finite = std::isfinite(done.norm);
  return {};
}

Status TorchRunner::perform(const Update& task, Completion& done) {
  if (job_ == nullptr) return no_job();
  use_threads(job_->spec);
  const double learning_rate = job_->spec.learning_rate(static_cast<std::int64_t>(task.step));
  for (const std::uint32_t stage : task.updated) {
    auto held = find_stage(stage);
    if (!held.ok()) return held.status();
    held.value()->optimizer.update(held.value()->stage.weights(), learning_rate);
    held.value()->stage.weights_changed();
  }
  for (auto& [number, held] : job_->stages) held.stage.gradient().zero_();
  done.resident_bytes = held_bytes(link_->device());
  return {};
}

Status TorchRunner::perform(const AbandonStep&, Completion&) {
  if (job_ == nullptr) return no_job();
  job_->kept.clear();
  for (auto& [number, held] : job_->stages) held.stage.gradient().zero_();
  return {};
}

Status TorchRunner::perform(const SaveSnapshot& task, Completion& done) {
  auto held = find_stage(task.stage);
  if (!held.ok()) return held.status();
  const at::Tensor weights = held.value()->stage.weights().to(at::kCPU, at::kFloat);
  const auto saved = snapshots_.save(task.job, task.commit, task.stage, to_wire(weights), task.keep);
  if (saved.ok()) {
    done.elements = saved.value().elements;
    done.digest = saved.value().digest;
  } else {
    done.problem = saved.status().message();
  }
  return {};
}

Status TorchRunner::perform(const ReadSlice& task, Completion& done) {
  auto slice = snapshots_.read(task.request);
  if (slice.ok())
    done.tensor = std::move(slice).value();
  else
    done.problem = slice.status().message();
  return {};
}

}  // namespace sidestep::daemon

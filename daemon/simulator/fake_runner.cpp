#include "daemon/simulator/fake_runner.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "daemon/data/snapshot_store.h"
#include "net/digest.h"
#include "recovery/weighted_average.h"

namespace sidestep::sim {

using namespace sidestep::daemon;

namespace {

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  return net::Random(a ^ std::rotl(b * 0x9e3779b97f4a7c15u, 31)).next();
}

std::uint64_t hash_of(const net::Tensor& tensor) {
  std::uint64_t hash = tensor.payload.size();
  for (std::size_t i = 0; i < tensor.payload.size(); i += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, tensor.payload.data() + i, std::min(sizeof word, tensor.payload.size() - i));
    hash = mix(hash, word);
  }
  return hash;
}

std::vector<float> floats_of(const net::Tensor& tensor) {
  std::vector<float> values(tensor.payload.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), tensor.payload.data(), values.size() * sizeof(float));
  return values;
}

// Divided by no chunk size in use. All stages have as much of layers, stage 0 has more beside them.
constexpr std::size_t layer_elements = 7;
std::size_t gradient_elements(std::uint32_t stage) { return layer_elements + (stage == 0 ? 4 : 0); }

double norm_of(const std::vector<float>& values) {
  double squares = 0;
  for (const float value : values) squares += static_cast<double>(value) * value;
  return std::sqrt(squares);
}

std::string name_of(std::uint32_t stage, std::uint32_t microbatch) {
  return "stage " + std::to_string(stage) + ", microbatch " + std::to_string(microbatch);
}

}  // namespace

FakeRunner::FakeRunner(FakeOptions options, std::shared_ptr<FakeTrace> trace)
    : options_(options), trace_(std::move(trace)), random_(options.seed) {}

Completion FakeRunner::run(TaskId id, const Task& task) {
  Completion done;
  done.id = id;
  std::int64_t typical_us = 1'000;
  if (std::holds_alternative<Forward>(task)) typical_us = 6'000;
  if (std::holds_alternative<Backward>(task)) typical_us = 12'000;
  if (std::holds_alternative<Head>(task)) typical_us = 4'000;
  const double drawn = static_cast<double>(random_.between(typical_us / 2, 2 * typical_us));
  done.duration_us = static_cast<std::int64_t>(drawn / options_.speed);
  std::visit([&](const auto& kind) { perform(kind, done); }, task);
  return done;
}

void FakeRunner::violation(Completion& done, const std::string& what) {
  trace_->violations.push_back("step " + std::to_string(step_) + ": " + what);
  if (done.fault.empty()) done.fault = what;
}

bool FakeRunner::is_at(std::uint64_t step) {
  // No commit has changed the stage that it rebuilt: nobody told it of them.
  if (joining_ && rebuilt_ && step > step_) step_ = step;
  return step == step_;
}

FakeRunner::Stage* FakeRunner::find(Completion& done, std::uint32_t stage,
                                    std::optional<std::uint64_t> step) {
  const auto it = stages_.find(stage);
  if (it == stages_.end()) {
    violation(done, "a task for stage " + std::to_string(stage) + ", which is not held here");
    return nullptr;
  }
  if (step && !is_at(*step)) {
    violation(done, "a task of step " + std::to_string(*step));
    return nullptr;
  }
  return &it->second;
}

void FakeRunner::perform(const InitJob& task, Completion& done) {
  if (spec_) violation(done, "InitJob while another job is held");
  spec_ = task.spec;
  origin_ = task.origin;
  step_ = task.spec.first_commit() + 1;
  joining_ = false;
  job_ = trace_->jobs.size();
  FakeJob& job = trace_->jobs.emplace_back();
  job.name = task.spec.name;
  for (const std::uint32_t stage : task.stages) {
    add_stage(stage, done);
    if (!task.spec.resume.directory.empty()) resume(stage, done);
    if (!done.fault.empty()) return;
    job.weights[task.spec.first_commit()][stage] = stages_[stage].weights;
  }
  for (const std::uint32_t stage : task.learned) add_stage(stage, done);
}

void FakeRunner::add_stage(std::uint32_t stage, Completion& done) {
  Stage& held = stages_[stage] = {};
  held.weights = mix(spec_->seed, stage);
  held.accumulator.assign(gradient_elements(stage), 0);
  held.average.assign(gradient_elements(stage), 0);
  held.covered.assign(gradient_elements(stage), false);
  for (std::vector<float>& part : held.stored) part.assign(gradient_elements(stage), 0);
  done.gradient_elements.push_back(held.accumulator.size());
}

void FakeRunner::perform(const ProbeJob& task, Completion& done) {
  if (const scheduler::ResumeSpec& resume = task.spec.resume; !resume.directory.empty()) {
    const std::string folder = resumed_folder(resume);
    if (folder.empty()) {
      done.problem = "no checkpoint of commit " + std::to_string(resume.commit);
      return;
    }
    const std::string& manifest = options_.folder->manifests.at(folder);
    done.init_commit = nlohmann::json::parse(manifest).at("commit");
    done.init_digest = net::sha256(std::as_bytes(std::span(manifest)));
  }
  done.has_data = options_.has_data;
  if (options_.has_data) {
    done.data_digest = "sha256:" + std::string(64, 'a');
  } else {
    done.data_problem = "no such file";
  }
  done.layer_us = static_cast<std::int64_t>(18'000 / options_.speed);
  done.head_us = static_cast<std::int64_t>(4'000 / options_.speed);
  done.memory_bytes = std::uint64_t{1} << 40;
}

void FakeRunner::perform(const DropJob&, Completion& done) {
  if (!spec_) return violation(done, "DropJob without a job");
  trace_->jobs[job_].dropped = true;
  trace_->jobs[job_].activations_at_drop = kept_.size();
  spec_.reset();
  stages_.clear();
  kept_.clear();
  end_writing();
}

void FakeRunner::perform(const Forward& task, Completion& done) {
  Stage* stage = find(done, task.stage, task.step);
  if (stage == nullptr) return;
  stage->unused = false;
  const std::string name = name_of(task.stage, task.microbatch);
  std::uint64_t input = hash_of(task.input);
  if (task.stage == 0) {
    if (!origin_ || !task.input.empty()) return violation(done, name + ": stage 0 with an input");
    input = mix(mix(spec_->seed, task.step), 2 * task.microbatch + (task.evaluation ? 1 : 0));
  } else if (task.input.empty()) {
    return violation(done, name + ": Forward without an input");
  }
  if (!task.evaluation) {
    if (!kept_.emplace(std::pair(task.stage, task.microbatch), Kept{input, task.save}).second) {
      return violation(done, name + ": Forward twice");
    }
    const auto saved = std::ranges::count_if(kept_, [](const auto& entry) { return entry.second.saved; });
    // A node that took a second stage over has more, see scheduler/placement.cpp.
    const auto stages = static_cast<std::int64_t>(stages_.size());
    const std::int64_t slots =
        stages == 1 ? spec_->pipeline.slots
                    : stages * std::max(spec_->pipeline.slots, spec_->pipeline.microbatches_per_step);
    if (options_.limit_slots && saved > slots) {
      return violation(done, name + ": " + std::to_string(saved) + " activations saved in " +
                                 std::to_string(slots) + " slots");
    }
    if (!task.save) ++trace_->jobs[job_].recomputed;
  }
  done.tensor = activation(mix(mix(input, stage->weights), task.stage));
}

void FakeRunner::perform(const Head& task, Completion& done) {
  Stage* stage = find(done, 0, task.step);
  if (stage == nullptr) return;
  if (!origin_ || task.input.empty()) return violation(done, "Head without an input or not at an origin");
  const std::uint64_t hash = mix(hash_of(task.input), stage->weights);
  done.loss = 1 + static_cast<double>(hash >> 11) * 0x1p-52;
  if (task.evaluation) return;
  if (task.accumulate) accumulate(done, *stage, task.microbatch, true, hash);
  done.tensor = activation(mix(hash, 0x4ead));
}

void FakeRunner::perform(const Backward& task, Completion& done) {
  Stage* stage = find(done, task.stage, task.step);
  if (stage == nullptr) return;
  const auto kept = kept_.find({task.stage, task.microbatch});
  if (kept == kept_.end()) {
    return violation(done, name_of(task.stage, task.microbatch) + ": Backward without a Forward");
  }
  if (task.gradient.empty()) {
    return violation(done, name_of(task.stage, task.microbatch) + ": Backward without a gradient");
  }
  const std::uint64_t cause = mix(mix(hash_of(task.gradient), kept->second.input), stage->weights);
  kept_.erase(kept);
  if (task.accumulate) accumulate(done, *stage, task.microbatch, false, cause);
  if (task.stage != 0) done.tensor = activation(mix(cause, task.stage));
}

void FakeRunner::perform(const Forget& task, Completion& done) {
  if (find(done, task.stage, task.step) == nullptr) return;
  if (kept_.erase({task.stage, task.microbatch}) == 0) {
    violation(done, name_of(task.stage, task.microbatch) + ": Forget without a Forward");
  }
}

void FakeRunner::accumulate(Completion& done, Stage& stage, std::uint32_t microbatch, bool head,
                            std::uint64_t cause) {
  if (stage.exposed)
    violation(done, "microbatch " + std::to_string(microbatch) + " added after its gradient was complete");
  if (!stage.added.insert({microbatch, head}).second) {
    violation(done, "microbatch " + std::to_string(microbatch) + " added twice");
  }
  net::Random random(cause);
  for (float& element : stage.accumulator) {
    element += options_.exact_sums ? static_cast<float>(random.between(-4'096, 4'096))
                                   : static_cast<float>(random.uniform() * 2 - 1);
  }
}

void FakeRunner::perform(const ExposeGradient& task, Completion& done) {
  Stage* stage = find(done, task.stage, {});
  if (stage == nullptr) return;
  stage->exposed = true;
  done.tensor = floats(stage->accumulator);
}

void FakeRunner::perform(const Reduce& task, Completion& done) {
  Stage* stage = find(done, task.stage, {});
  if (stage == nullptr) return;
  if (task.contributions.empty()) return violation(done, "Reduce of nothing");
  if (task.begin + task.length > stage->accumulator.size())
    return violation(done, "a Reduce beyond the stage's end");
  std::vector<float> sum(task.length, -0.0f);  // adds nothing, not even a sign
  std::size_t own = 0;
  for (const net::Tensor& contribution : task.contributions) {
    std::vector<float> part = floats_of(contribution);
    if (part.empty()) {
      ++own;
      const auto begin = stage->accumulator.begin() + static_cast<std::ptrdiff_t>(task.begin);
      part.assign(begin, begin + static_cast<std::ptrdiff_t>(task.length));
    }
    if (part.size() != sum.size()) return violation(done, "Reduce of different lengths");
    for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += part[k];
  }
  if (own != 1) violation(done, "Reduce with the own accumulator " + std::to_string(own) + " times");
  stage->exposed = true;
  for (float& value : sum) value *= static_cast<float>(task.scale);
  trace_->jobs[job_].scales[step_][task.stage] = task.scale;
  cover(done, *stage, task.begin, sum);
  if (task.give) done.tensor = floats(sum);
}

void FakeRunner::perform(const StoreAverage& task, Completion& done) {
  Stage* stage = find(done, task.stage, {});
  if (stage != nullptr) cover(done, *stage, task.begin, floats_of(task.values));
}

void FakeRunner::cover(Completion& done, Stage& stage, std::uint64_t begin,
                       const std::vector<float>& values) {
  if (begin + values.size() > stage.average.size())
    return violation(done, "an average beyond the stage's end");
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (stage.covered[begin + i]) return violation(done, "an average stored twice");
    stage.covered[begin + i] = true;
    stage.average[begin + i] = values[i];
  }
}

void FakeRunner::perform(const MeasureAverage& task, Completion& done) {
  Stage* stage = find(done, task.stage, {});
  if (stage == nullptr) return;
  if (std::ranges::find(stage->covered, false) != stage->covered.end()) {
    return violation(done, "MeasureAverage of a part of the average");
  }
  stage->measured = true;
  done.norm = norm_of(stage->average);
  done.finite = options_.non_finite_step == 0 || step_ < options_.non_finite_step ||
                step_ > std::max(options_.non_finite_step, options_.non_finite_last);
  if (!done.finite) done.norm = std::numeric_limits<double>::quiet_NaN();
}

void FakeRunner::perform(const Update& task, Completion& done) {
  if (!spec_) return violation(done, "Update without a job");
  if (!is_at(task.step)) return violation(done, "Update of step " + std::to_string(task.step));
  if (!kept_.empty()) violation(done, "Update while activations of the step are kept");
  for (const std::uint32_t updated : task.updated) {
    Stage* stage = find(done, updated, {});
    if (stage == nullptr) return;
    if (!stage->measured)
      violation(done, "Update of stage " + std::to_string(updated) + " without its average");
    update(*stage);
  }
  FakeJob& job = trace_->jobs[job_];
  ++job.updates;
  clear_step();
  for (const auto& [number, stage] : stages_)
    if (!stage.unused) job.weights[step_][number] = stage.weights;
  joining_ = false;
  ++step_;
}

void FakeRunner::update(Stage& stage) {
  stage.gradient_norm = norm_of(stage.average);
  for (const float value : stage.average)
    stage.weights = mix(stage.weights, std::bit_cast<std::uint32_t>(value));
  ++stage.updates;
}

void FakeRunner::clear_step() {
  for (auto& [number, stage] : stages_) clear(stage);
}

void FakeRunner::clear(Stage& stage) {
  std::ranges::fill(stage.accumulator, 0.0f);
  stage.covered.assign(stage.covered.size(), false);
  stage.added.clear();
  stage.exposed = stage.measured = false;
}

void FakeRunner::perform(const AbandonStep& task, Completion& done) {
  if (!spec_) return violation(done, "AbandonStep without a job");
  const bool validation_alone = task.step > static_cast<std::uint64_t>(spec_->steps);
  if (!validation_alone && !is_at(task.step))
    violation(done, "AbandonStep of step " + std::to_string(task.step));
  kept_.clear();
  clear_step();
  trace_->jobs[job_].scales.erase(step_);
}

std::vector<float> snapshot_of(std::uint64_t weights, std::uint32_t stage) {
  net::Random random(weights);
  std::vector<float> values(gradient_elements(stage));
  for (float& value : values) value = static_cast<float>(random.uniform());
  return values;
}

void FakeRunner::perform(const SaveSnapshot& task, Completion& done) {
  Stage* stage = find(done, task.stage, {});
  if (stage == nullptr) return;
  // The state is that of the commit: after its update, or unchanged where a step of validation alone made
  // none.
  const bool after_update = task.commit + 1 == step_;
  const bool validation_alone =
      task.commit == step_ && task.commit > static_cast<std::uint64_t>(spec_->steps);
  if (!after_update && !validation_alone)
    return violation(done, "SaveSnapshot of commit " + std::to_string(task.commit));
  if (trace_->disk_full) {
    done.problem = "no space left on device";
    return;
  }
  const std::vector<float> values = snapshot_of(stage->weights, task.stage);
  trace_->disk[{task.job, task.commit, task.stage}] = values;
  std::vector<std::uint64_t>& saved = trace_->saved[task.job];
  std::erase(saved, task.commit);
  saved.insert(saved.begin(), task.commit);
  for (const std::uint64_t commit : daemon::commits_to_delete(saved, task.commit, task.keep)) {
    std::erase(saved, commit);
    std::erase_if(trace_->disk, [&](const auto& file) {
      return std::get<0>(file.first) == task.job && std::get<1>(file.first) == commit;
    });
  }
  done.elements = values.size();
  done.digest = net::sha256(std::as_bytes(std::span(values)));
}

void FakeRunner::perform(const AddStage& task, Completion& done) {
  if (!spec_ || stages_.contains(task.stage))
    return violation(done, "AddStage of stage " + std::to_string(task.stage));
  if (trace_->lessons_failing > 0) {
    --trace_->lessons_failing;
    done.fault = "out of memory";
    return;
  }
  add_stage(task.stage, done);
  stages_[task.stage].unused = true;
  origin_ = origin_ || task.stage == 0;
}

void FakeRunner::perform(const DropStage& task, Completion&) {
  stages_.erase(task.stage);
  std::erase_if(kept_, [&](const auto& entry) { return entry.first.first == task.stage; });
}

// Weights as the bits of the first two elements; moments that only these weights and updates have.
std::array<std::vector<float>, 3> FakeRunner::state_of(const Stage& stage) {
  std::array<std::vector<float>, 3> parts;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    net::Random random(mix(stage.weights, stage.updates + part));
    for (std::size_t i = 0; i < stage.accumulator.size(); ++i)
      parts[part].push_back(static_cast<float>(random.uniform()));
  }
  std::memcpy(parts[0].data(), &stage.weights, sizeof stage.weights);
  return parts;
}

void FakeRunner::perform(const CopyState& task, Completion& done) {
  Stage* stage = find(done, task.stage, {});
  if (stage == nullptr) return;
  if (!stage->added.empty()) violation(done, "CopyState in the middle of a step");
  for (std::vector<float> part : state_of(*stage)) {
    if (task.layers_alone) part.resize(layer_elements);
    done.state.push_back(floats(part));
    done.digests.push_back(net::checksum(std::as_bytes(std::span(part))));
  }
  done.traits = {stage->updates, stage->gradient_norm, stage->learning_rate_scale};
}

void FakeRunner::perform(const StoreState& task, Completion& done) {
  Stage* stage = find(done, task.stage, {});
  if (stage == nullptr) return;
  std::vector<std::vector<float>> of_sources;
  std::vector<recovery::Weighted> sources;
  for (const StoreState::Source& source : task.sources) of_sources.push_back(floats_of(source.values));
  for (std::size_t i = 0; i < of_sources.size(); ++i)
    sources.push_back({of_sources[i], task.sources[i].weight});
  std::vector<float> values = of_sources.at(0);
  if (sources.size() > 1 || task.sources[0].weight != 1) recovery::weighted_average(sources, values);
  std::vector<float>& part = stage->stored.at(static_cast<std::size_t>(task.part));
  if (task.begin + values.size() > part.size()) return violation(done, "StoreState beyond the stage's end");
  std::ranges::copy(values, part.begin() + static_cast<std::ptrdiff_t>(task.begin));
}

void FakeRunner::perform(const FinishState& task, Completion& done) {
  Stage* stage = find(done, task.stage, {});
  if (stage == nullptr) return;
  stage->updates = task.traits.updates;
  stage->gradient_norm = task.traits.gradient_norm;
  stage->learning_rate_scale = task.traits.learning_rate_scale;
  const bool mirrored = task.made_of == FinishState::MadeOf::mirror;
  if (task.made_of == FinishState::MadeOf::others) {
    for (const std::vector<float>& part : stage->stored)
      for (const float value : part)
        stage->weights = mix(stage->weights, std::bit_cast<std::uint32_t>(value));
    for (std::vector<float>& part : stage->stored) part.assign(part.size(), 0);
    stage->stored = state_of(*stage);
  }
  std::memcpy(&stage->weights, stage->stored[0].data(), sizeof stage->weights);
  if (mirrored && task.traits.updates == 0) stage->stored = state_of(*stage);  // the moments did not come
  const std::array<std::vector<float>, 3> expected = state_of(*stage);
  for (std::size_t part = 0; part < expected.size(); ++part)  // bits, which may be those of a nan
    if (std::memcmp(expected[part].data(), stage->stored[part].data(),
                    expected[part].size() * sizeof(float)) != 0)
      return violation(done, "FinishState of parts that do not belong together");
  for (const std::vector<float>& part : stage->stored)
    done.digests.push_back(net::checksum(std::as_bytes(std::span(part))));
  rebuilt_ = task.made_of != FinishState::MadeOf::replica;
  stage->unused = true;
  joining_ = joining_ || (trace_->jobs[job_].updates == 0 && stages_.size() == 1);
  if (joining_) step_ = task.commit + 1;
  if (!mirrored) trace_->jobs[job_].weights[task.commit][task.stage] = stage->weights;
}

void FakeRunner::perform(const CatchUp& task, Completion& done) {
  Stage* stage = find(done, task.stage, {});
  if (stage == nullptr) return;
  for (const CatchUp::Part& part : task.average) cover(done, *stage, part.begin, floats_of(part.values));
  if (!task.average.empty()) {
    if (std::ranges::find(stage->covered, false) != stage->covered.end())
      violation(done, "CatchUp with a part of the average");
    update(*stage);
  }
  clear(*stage);
  trace_->jobs[job_].weights[task.step][task.stage] = stage->weights;
  if (joining_) step_ = task.step + 1;
}

void FakeRunner::perform(const ReadSlice& task, Completion& done) {
  const net::SliceRequest& wanted = task.request;
  const auto file = trace_->disk.find({wanted.job, wanted.commit, wanted.stage});
  if (file == trace_->disk.end() || wanted.begin + wanted.elements > file->second.size()) {
    done.problem = "no such slice";
    return;
  }
  const auto begin = file->second.begin() + static_cast<std::ptrdiff_t>(wanted.begin);
  done.tensor = floats({begin, begin + static_cast<std::ptrdiff_t>(wanted.elements)});
}

net::Tensor FakeRunner::activation(std::uint64_t hash) {
  const std::vector<std::int64_t> shape{spec_->pipeline.microbatch_size, spec_->data.sequence_length,
                                        spec_->model.hidden_size};
  const net::DType dtype = spec_->activation_dtype();
  std::vector<std::byte> bytes(static_cast<std::size_t>(shape[0] * shape[1] * shape[2]) *
                               net::size_of(dtype));
  net::Random random(hash);
  for (std::size_t i = 0; i < bytes.size(); i += sizeof(std::uint64_t)) {
    const std::uint64_t word = random.next();
    std::memcpy(bytes.data() + i, &word, std::min(sizeof word, bytes.size() - i));
  }
  return wrap(dtype, shape, std::move(bytes));
}

net::Tensor FakeRunner::floats(const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(float));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return wrap(net::DType::float32, {static_cast<std::int64_t>(values.size())}, std::move(bytes));
}

net::Tensor FakeRunner::wrap(net::DType dtype, std::vector<std::int64_t> shape,
                             std::vector<std::byte> bytes) {
  const std::shared_ptr<std::vector<std::byte>> owner(new std::vector<std::byte>(std::move(bytes)),
                                                      [trace = trace_](std::vector<std::byte>* freed) {
                                                        --trace->live_tensors;
                                                        delete freed;
                                                      });
  ++trace_->live_tensors;
  const std::byte* data = owner->data();
  const std::size_t size = owner->size();
  return {dtype, std::move(shape), net::Payload(owner, data, size)};
}

TaskRunnerFactory fake_factory(FakeOptions options, std::shared_ptr<FakeTrace> trace) {
  return [options, trace] { return std::make_unique<FakeRunner>(options, trace); };
}

}  // namespace sidestep::sim

#include "daemon/executor/torch_runner.h"

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "daemon/executor/device.h"
#include "daemon/executor/machine.h"
#include "daemon/executor/tensors.h"
#include "net/digest.h"
#include "tests/unit/data/temporary_folder.h"
#include "tests/unit/model/model_folder.h"
#include "tests/unit/model/small_job.h"

namespace sidestep::daemon {
namespace {

using Catch::Contains;
using namespace testing;

// A small job on a text that repeats itself, gone with the test case.
class TextJob {
 public:
  explicit TextJob(std::int64_t stages) : spec(small_job(stages)) {
    path_ = std::filesystem::temp_directory_path() / ("sidestep-runner-" + std::to_string(::getpid()));
    std::string text;
    while (text.size() < 2000) text += "the quick brown fox jumps over the lazy dog. ";
    std::ofstream(path_) << text;
    spec.model.vocab_size = 256;
    spec.model.initializer_range = 0.05;
    spec.data.path = path_.string();
    spec.validation = {.every = 5, .microbatches = 2};
  }
  ~TextJob() { std::filesystem::remove(path_); }
  TextJob(const TextJob&) = delete;
  TextJob& operator=(const TextJob&) = delete;

  std::vector<std::uint32_t> all_stages() const {
    std::vector<std::uint32_t> stages;
    for (std::int64_t stage = 0; stage < spec.pipeline.stages; ++stage)
      stages.push_back(static_cast<std::uint32_t>(stage));
    return stages;
  }

  scheduler::JobSpec spec;

 private:
  std::filesystem::path path_;
};

// Runs a task that has to work.
Completion must(TaskRunner& runner, const Task& task) {
  const Completion done = runner.run(7, task);
  INFO(done.fault);
  REQUIRE(done.fault.empty());
  CHECK(done.id == 7);
  return done;
}

std::string fault(TaskRunner& runner, const Task& task) {
  const Completion done = runner.run(8, task);
  CHECK(done.id == 8);
  REQUIRE_FALSE(done.fault.empty());
  return done.fault;
}

// One microbatch through all stages and back; returns its loss.
double train_microbatch(TaskRunner& runner, const TextJob& job, std::uint64_t step, std::uint32_t microbatch,
                        bool save = true) {
  net::Tensor x;
  for (const std::uint32_t stage : job.all_stages())
    x = must(runner, Forward{stage, step, microbatch, false, save, x}).tensor;
  const Completion head = must(runner, Head{step, microbatch, false, true, x});
  net::Tensor gradient = head.tensor;
  for (std::uint32_t stage = static_cast<std::uint32_t>(job.spec.pipeline.stages); stage-- > 0;)
    gradient = must(runner, Backward{stage, step, microbatch, true, gradient}).tensor;
  CHECK(gradient.empty());
  return head.loss;
}

double train_step(TaskRunner& runner, const TextJob& job, const std::vector<std::uint64_t>& elements,
                  std::uint64_t step) {
  const auto microbatches = static_cast<std::uint32_t>(job.spec.pipeline.microbatches_per_step);
  double loss = 0;
  for (std::uint32_t microbatch = 0; microbatch < microbatches; ++microbatch)
    loss += train_microbatch(runner, job, step, microbatch) / microbatches;
  for (const std::uint32_t stage : job.all_stages()) {
    must(runner, Reduce{stage, 0, elements.at(stage), {net::Tensor()}, 1.0 / microbatches, false});
    CHECK(must(runner, MeasureAverage{stage}).finite);
  }
  must(runner, Update{step, job.all_stages()});
  return loss;
}

net::Tensor floats(const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(float));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return {net::DType::float32,
          {static_cast<std::int64_t>(values.size())},
          net::Payload::from_bytes(std::move(bytes))};
}

std::vector<float> values_of(const net::Tensor& tensor) {
  std::vector<float> values(tensor.payload.size() / sizeof(float));
  std::memcpy(values.data(), tensor.payload.data(), tensor.payload.size());
  return values;
}

}  // namespace

TEST_CASE("TorchRunner memorises a short text") {
  TextJob job(2);
  job.spec.precision = GENERATE("float32", "bfloat16");
  job.spec.steps = 60;
  TorchRunner runner({});
  const Completion init = must(runner, InitJob{job.spec, {0, 1}, true});
  REQUIRE(init.gradient_elements.size() == 2);
  CHECK(init.gradient_elements[0] == init.gradient_elements[1] + 2 * 256 * 32 + 32);
  const double first = train_step(runner, job, init.gradient_elements, 1);
  CHECK(first == Approx(std::log(256.0)).epsilon(0.05));
  double last = 0;
  for (std::uint64_t step = 2; step <= 60; ++step)
    last = train_step(runner, job, init.gradient_elements, step);
  CHECK(last < 1.5);
}

TEST_CASE("TorchRunner: evaluation gives a loss, no gradient, and keeps nothing") {
  const TextJob job(2);
  TorchRunner runner({});
  must(runner, InitJob{job.spec, {0, 1}, true});
  net::Tensor x = must(runner, Forward{0, 1, 0, true, true, {}}).tensor;
  x = must(runner, Forward{1, 1, 0, true, true, x}).tensor;
  const Completion head = must(runner, Head{1, 0, true, true, x});
  CHECK(head.loss > 4);
  CHECK(head.tensor.empty());
  for (const float value : values_of(must(runner, ExposeGradient{0}).tensor)) REQUIRE(value == 0);
  CHECK_THAT(fault(runner, Backward{1, 1, 0, true, x}), Contains("its forward did not run here"));
}

TEST_CASE("TorchRunner: a split over runners gives the same bits as one runner") {
  const TextJob job(4);
  TorchRunner whole({});
  must(whole, InitJob{job.spec, job.all_stages(), true});
  std::vector<TorchRunner> parts;
  for (int i = 0; i < 4; ++i) parts.emplace_back(TorchRunnerOptions{});
  for (std::uint32_t stage = 0; stage < 4; ++stage)
    must(parts[stage], InitJob{job.spec, {stage}, stage == 0});
  const double loss = train_microbatch(whole, job, 1, 2);

  net::Tensor x;
  const auto moved = [](const net::Tensor&
                            tensor) {  // as a frame arrives: elsewhere, and not aligned to 64 bytes
    std::vector<std::byte> bytes(tensor.payload.size() + 4);
    std::memcpy(bytes.data() + 4, tensor.payload.data(), tensor.payload.size());
    const std::size_t size = tensor.payload.size();
    return net::Tensor{tensor.dtype, tensor.shape, net::Payload::from_bytes(std::move(bytes)).slice(4, size)};
  };
  for (std::uint32_t stage = 0; stage < 4; ++stage) {
    x = must(parts[stage], Forward{stage, 1, 2, false, stage != 2, x}).tensor;
    x = moved(x);
  }
  const Completion head = must(parts[0], Head{1, 2, false, true, x});
  CHECK(head.loss == loss);
  net::Tensor gradient = head.tensor;
  for (std::uint32_t stage = 4; stage-- > 0;) {
    gradient = must(parts[stage], Backward{stage, 1, 2, true, moved(gradient)}).tensor;
    CHECK(values_of(must(parts[stage], ExposeGradient{stage}).tensor) ==
          values_of(must(whole, ExposeGradient{stage}).tensor));
  }
}

TEST_CASE("TorchRunner: Reduce sums in the order given, scales, and stores at its place") {
  const TextJob job(2);
  TorchRunner runner({});
  must(runner, InitJob{job.spec, {1}, false});
  const std::vector<net::Tensor> parts{floats({1e8f, 1}), floats({1, 2}), floats({-1e8f, 3})};
  CHECK((values_of(must(runner, Reduce{1, 10, 2, parts, 0.5}).tensor) == std::vector<float>{0, 3}));
  const std::vector<net::Tensor> turned{parts[0], parts[2], parts[1]};
  CHECK((values_of(must(runner, Reduce{1, 10, 2, turned, 0.5}).tensor) == std::vector<float>{0.5f, 3}));
  CHECK(must(runner, MeasureAverage{1}).norm == Approx(std::sqrt(9.25)));
  must(runner, StoreAverage{1, 0, floats({4})});
  CHECK(must(runner, MeasureAverage{1}).norm == Approx(std::sqrt(25.25)));
  must(runner, StoreAverage{1, 3, floats({std::nanf("")})});
  CHECK_FALSE(must(runner, MeasureAverage{1}).finite);
}

TEST_CASE("TorchRunner: what Reduce gave stays as it is through the update and the next step") {
  const TextJob job(2);
  TorchRunner runner({});
  must(runner, InitJob{job.spec, {1}, false});
  REQUIRE(job.spec.optimizer.clip_norm < 100);
  const net::Tensor given = must(runner, Reduce{1, 10, 2, {floats({300, 400})}, 1}).tensor;
  must(runner, Update{1, {1}});
  CHECK((values_of(given) == std::vector<float>{300, 400}));
  must(runner, Reduce{1, 10, 2, {floats({1, 2})}, 1});
  CHECK((values_of(given) == std::vector<float>{300, 400}));
}

TEST_CASE("TorchRunner: Update clears accumulators, also of stages that it does not update") {
  const TextJob job(2);
  TorchRunner runner({});
  must(runner, InitJob{job.spec, {0, 1}, true});
  train_microbatch(runner, job, 1, 0);
  const std::vector<float> gradient = values_of(must(runner, ExposeGradient{1}).tensor);
  CHECK(values_of(must(runner, Reduce{1, 0, gradient.size(), {net::Tensor()}, 1}).tensor) == gradient);
  must(runner, Update{1, {1}});
  for (std::uint32_t stage = 0; stage < 2; ++stage)
    for (const float value : values_of(must(runner, ExposeGradient{stage}).tensor)) REQUIRE(value == 0);
}

TEST_CASE("TorchRunner: tasks that cannot be are faults that say which") {
  const TextJob job(4);
  TorchRunner runner({});
  CHECK_THAT(fault(runner, Update{1, {}}), Contains("update of step 1: no job is set up here"));
  CHECK_THAT(fault(runner, InitJob{job.spec, {4}, false}), Contains("the job has no stage 4"));
  must(runner, InitJob{job.spec, {0, 2}, true});
  const net::Tensor x = must(runner, Forward{0, 1, 0, false, true, {}}).tensor;
  CHECK(fault(runner, Forward{1, 3, 2, false, true, x}) ==
        "forward of stage 1, step 3, microbatch 2: this node does not hold stage 1");
  CHECK_THAT(fault(runner, Forward{0, 1, 4, false, true, {}}), Contains("there is no such microbatch"));
  CHECK_THAT(fault(runner, Forward{0, 1, 2, true, true, {}}), Contains("there is no such microbatch"));
  CHECK_THAT(fault(runner, Forward{0, 0, 0, false, true, {}}), Contains("steps begin at 1"));
  CHECK_THAT(fault(runner, Forward{2, 1, 0, false, true, floats({1, 2})}), Contains("has not the shape"));
  CHECK_THAT(fault(runner, Backward{2, 1, 0, true, x}), Contains("its forward did not run here"));
  CHECK_THAT(fault(runner, Reduce{2, 0, 1, {}, 1}), Contains("nothing to sum"));
  CHECK_THAT(fault(runner, Reduce{2, 0, 1, {floats({1}), floats({1, 2})}, 1}),
             Contains("a flat float32 tensor, here of 1 elements"));
  CHECK_THAT(fault(runner, StoreAverage{2, ~std::uint64_t{0}, floats({1})}),
             Contains("are not within the stage's"));
  must(runner, Forget{2, 1, 0});
  must(runner, Forget{0, 1, 0});
  CHECK_THAT(fault(runner, Backward{0, 1, 0, true, x}), Contains("its forward did not run here"));
  must(runner, DropJob{});
  CHECK_THAT(fault(runner, ExposeGradient{0}), Contains("no job"));
}

TEST_CASE("TorchRunner: what a node cannot do is said at once") {
  TextJob job(2);
  SECTION("another device") {
    TorchRunner runner({.device = "cuda:63"});
    CHECK_THAT(fault(runner, InitJob{job.spec, {0}, true}), Contains("device \"cuda:63\": "));
    CHECK_THAT(must(runner, ProbeJob{job.spec}).problem, Contains("device \"cuda:63\": "));
  }
  SECTION("too little memory") {
    TorchRunner runner({.memory_bytes = 1000});
    CHECK_THAT(fault(runner, InitJob{job.spec, {1}, false}), Contains("this node may use 1 MiB"));
  }
  SECTION("an allocation that fails") {
    job.spec.model.intermediate_size = std::int64_t{1} << 40;
    TorchRunner runner({.memory_bytes = ~std::uint64_t{0}});
    CHECK_THAT(fault(runner, InitJob{job.spec, {1}, false}),
               Contains("out of memory: ") && Contains(" bytes could not"));
  }
  SECTION("no data") {
    job.spec.data.path = "/nowhere/text";
    TorchRunner runner({});
    CHECK_THAT(fault(runner, InitJob{job.spec, {0}, true}), Contains("/nowhere/text"));
    must(runner, InitJob{job.spec, {0}, false});
    CHECK_THAT(fault(runner, Forward{0, 1, 0, false, true, {}}), Contains("this node is no origin"));
  }
}

TEST_CASE("TorchRunner: a probe tells speed, data and memory") {
  TextJob job(2);
  TorchRunner runner({.memory_bytes = 123'456'789});
  const Completion probe = must(runner, ProbeJob{job.spec});
  CHECK(probe.layer_us > 0);
  CHECK(probe.head_us > 0);
  CHECK(probe.memory_bytes == 123'456'789);
  CHECK(probe.has_data);
  CHECK_THAT(probe.data_digest, Catch::StartsWith("sha256:"));
  CHECK(probe.problem.empty());
  job.spec.data.digest = "sha256:00";
  const Completion other = must(runner, ProbeJob{job.spec});
  CHECK_FALSE(other.has_data);
  CHECK_THAT(other.data_problem, Contains("the job wants sha256:00"));
}

TEST_CASE("TorchRunner: init_from gives the folder's weights, on any number of stages") {
  const TemporaryFolder place;
  const TextJob exporting(2);
  write_folder(place.path("m"), exporting.spec.model, initial_weights(exporting.spec));
  TorchRunner exporter({});
  must(exporter, InitJob{exporting.spec, {0, 1}, true});
  const double loss = train_microbatch(exporter, exporting, 1, 0);

  TextJob job(GENERATE(1, 2, 4));
  job.spec.model.initializer_range = 0.3;  // what the seed gives is another model
  job.spec.init_from = place.path("m");
  TorchRunner runner({});
  const Completion probe = must(runner, ProbeJob{job.spec});
  CHECK(probe.problem.empty());
  CHECK(probe.init_digest == must_open(place.path("m")).digest());
  job.spec.init_from_digest = probe.init_digest;
  must(runner, InitJob{job.spec, job.all_stages(), true});
  for (const std::uint32_t stage : job.all_stages())
    for (const float value : values_of(must(runner, ExposeGradient{stage}).tensor)) REQUIRE(value == 0);
  CHECK(train_microbatch(runner, job, 1, 0) == Approx(loss).epsilon(1e-6));
}

TEST_CASE("TorchRunner: a folder that init_from cannot use is told by probe and start, with what to do") {
  const TemporaryFolder place;
  TextJob job(2);
  auto weights = initial_weights(job.spec);
  const std::string path = place.path("m");
  job.spec.init_from = path;
  TorchRunner runner({});
  const auto check_problem = [&](const std::string& text) {
    const Completion probe = must(runner, ProbeJob{job.spec});
    CHECK(probe.problem == text);
    CHECK(probe.init_digest.empty());
    CHECK_THAT(fault(runner, InitJob{job.spec, {0, 1}, true}), Contains(text));
  };
  SECTION("not there") {
    check_problem(
        "\"init_from\": " + path +
        ": is not a folder; a model is a folder with config.json and its weights; every node of the "
        "job needs this folder: copy it here, or leave \"init_from\" out");
  }
  SECTION("another model") {
    write_folder(path, job.spec.model, weights);
    job.spec.model.hidden_size = 64;
    job.spec.model.head_dim = 16;
    check_problem("\"init_from\": job key \"model.hidden_size\": value 64, " + path +
                  "/config.json has 32\njob key \"model.head_dim\": value 16, " + path +
                  "/config.json has 8; give the job the model of the folder, or name another folder");
  }
  SECTION("a tensor missing") {
    weights.erase("model.norm.weight");
    write_folder(path, job.spec.model, weights);
    check_problem("\"init_from\": " + path +
                  ": tensor \"model.norm.weight\" is missing; copy the folder here again");
  }
  SECTION("a flipped bit, and the folder repaired while the runner lives") {
    write_folder(path, job.spec.model, weights);
    const std::string file = must_open(path).files().back();
    const std::string good = read_file(file);
    std::string bad = good;
    bad[bad.size() - 2] ^= 1;
    write_bytes(file, bad);
    CHECK_THAT(must(runner, ProbeJob{job.spec}).problem,
               Catch::StartsWith("\"init_from\": " + file + ": tensor \"") &&
                   Contains("its bytes are not the ones that were written") &&
                   Catch::EndsWith("copy the folder here again"));
    write_bytes(file, good);
    CHECK(must(runner, ProbeJob{job.spec}).problem.empty());
    write_bytes(file, bad);
    CHECK_THAT(fault(runner, InitJob{job.spec, {0}, false}), Contains("its bytes are not the ones"));
  }
  SECTION("a number that is none") {
    weights["model.norm.weight"][0] = NAN;
    write_folder(path, job.spec.model, weights);
    check_problem("\"init_from\": " + path +
                  ": tensor \"model.norm.weight\" has an element that is not finite; the file is damaged, or "
                  "its training failed; copy the folder here again");
  }
  SECTION("another folder than the job's") {
    write_folder(path, job.spec.model, weights);
    job.spec.init_from_digest = "sha256:" + std::string(64, '0');
    check_problem("\"init_from\": " + path + ": has digest " + must_open(path).digest() + ", the job wants " +
                  job.spec.init_from_digest + "; copy the job's folder here");
  }
}

TEST_CASE("Runner: a snapshot holds the weights after the update, and ended jobs' are read too") {
  const TextJob job(2);
  const std::string folder =
      (std::filesystem::temp_directory_path() / ("sidestep-saved-" + std::to_string(::getpid()))).string();
  TorchRunner runner({.snapshot_folder = folder});
  const auto elements = must(runner, InitJob{job.spec, job.all_stages(), true}).gradient_elements;
  train_step(runner, job, elements, 1);
  const Completion saved = must(runner, SaveSnapshot{"job-1", 1, 1});
  CHECK(saved.problem == "");
  CHECK(saved.elements == static_cast<std::uint64_t>(ParameterLayout::of_stage(job.spec, 1).elements));
  const auto read = [&] {
    return must(runner, ReadSlice{{"job-1", 1, 1, net::SnapshotPart::weights, 0, saved.elements}});
  };
  const Completion first = read();
  CHECK(first.problem == "");
  CHECK(net::sha256({first.tensor.payload.data(), first.tensor.payload.size()}) == saved.digest);
  const at::Tensor before = from_wire(first.tensor, false).value().clone();
  // Training goes on and changes nothing of it.
  train_step(runner, job, elements, 2);
  CHECK(must(runner, SaveSnapshot{"job-1", 2, 1}).digest != saved.digest);
  must(runner, DropJob{});
  CHECK(at::equal(from_wire(read().tensor, false).value(), before));
  CHECK_THAT(must(runner, ReadSlice{{"job-1", 3, 1, net::SnapshotPart::weights, 0, 1}}).problem,
             Contains("is not here"));
  // A stage that is not held is a bug of the caller's; a disk that refuses is not.
  CHECK_THAT(fault(runner, SaveSnapshot{"job-1", 2, 1}), Contains("no job is set up here"));
  std::filesystem::remove_all(folder);
  TorchRunner without({});
  must(without, InitJob{job.spec, job.all_stages(), true});
  CHECK_THAT(must(without, SaveSnapshot{"job-1", 0, 1}).problem, Contains("no data folder"));
}

}  // namespace sidestep::daemon

// The simulated swarm with the real executor: what it trains, one process trains the same.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "daemon/data/hf_export.h"
#include "daemon/executor/torch_runner.h"
#include "daemon/model/weights.h"
#include "daemon/simulator/sim_cluster.h"
#include "daemon/solo/solo.h"
#include "net/clock.h"
#include "tests/sim/checker.h"
#include "tests/sim/sim_job.h"
#include "tests/sim/torch/text_file.h"
#include "tests/unit/data/temporary_folder.h"

using namespace sidestep;
using namespace sidestep::sim;
using net::second;
using scheduler::RecordStep;

namespace {

struct Case {
  std::int64_t stages = 4;  // on six nodes: with 3, every stage has replicas
  bool deterministic = false;
  bool tied = false;
  const char* precision = "float32";
};

nlohmann::json tiny_job(const std::string& data, const Case& chosen) {
  JobShape shape;
  shape.stages = chosen.stages;
  shape.microbatches = 6;
  shape.steps = 10;
  shape.validation_every = 5;
  shape.deterministic = chosen.deterministic;
  shape.tied = chosen.tied;
  nlohmann::json job = job_json(shape);
  job["precision"] = chosen.precision;
  job["model"]["hidden_size"] = 16;
  job["model"]["intermediate_size"] = 32;
  job["pipeline"]["microbatch_size"] = 2;
  job["data"] = {{"path", data}, {"sequence_length", 16}};
  job["optimizer"] = {{"learning_rate", 0.01}};
  return job;
}

daemon::TaskRunnerFactory torch_factory() {
  return [] { return std::make_unique<daemon::TorchRunner>(daemon::TorchRunnerOptions{}); };
}

}  // namespace

TEST_CASE("Torch swarm: its record replays to the same losses, and solo trains alike") {
  const Case chosen = GENERATE(Case{4, true, false, "float32"}, Case{3, true, true, "float32"},
                               Case{3, false, false, "float32"}, Case{4, false, true, "float32"},
                               Case{3, true, false, "bfloat16"}, Case{4, false, true, "bfloat16"});
  INFO(chosen.stages << " stages, " << chosen.precision << (chosen.deterministic ? ", deterministic" : "")
                     << (chosen.tied ? ", tied" : ""));
  const TextFile text;
  SimOptions options;
  options.link = {.delay_us_max = 5'000, .loss = 0.01, .repetition = 0.02, .overtaking = 0.05};
  options.chunk_bytes = 4'096;
  options.runner = [make = torch_factory()](std::size_t) { return make(); };
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  const std::string id = cluster.submit(tiny_job(text.path, chosen));
  CHECK(cluster.run_until_ended(id));
  INFO(cluster.last_lines());
  const scheduler::JobRow& row = *cluster.job(id);
  REQUIRE(row.state == scheduler::JobState::done);

  const auto job = std::move(scheduler::parse_job(row.spec, id)).value();
  const std::vector<RecordStep> steps = cluster.record(id);
  CHECK(join(check_record(job, cluster.plans(id), steps, true)) == "");
  CHECK(join(check_replay(job, steps, torch_factory(), chosen.deterministic ? 0 : 1e-5)) == "");
  CHECK(join(cluster.violations()) == "");

  // Untrained, the loss is that of a guess among 256 bytes; the text has far fewer.
  CHECK(*steps[1].loss == Approx(std::log(256)).epsilon(0.05));
  CHECK(*steps[10].loss < 0.8 * *steps[1].loss);
  CHECK(*steps[11].validation_loss < 0.8 * *steps[1].loss);

  // Solo adds in another order and averages nothing, so only nearly the same.
  std::vector<double> solo;
  const Status status = daemon::run_solo(job, torch_factory(), [&](const RecordStep& step) {
    if (step.loss) solo.push_back(*step.loss);
    return Status();
  });
  REQUIRE(status.ok());
  REQUIRE(solo.size() == 10);
  const double tolerance = std::string(chosen.precision) == "float32" ? 1e-4 : 2e-2;
  for (std::size_t i = 0; i < solo.size(); ++i)
    CHECK(solo[i] == Approx(*steps[i + 1].loss).epsilon(tolerance));
}

TEST_CASE("Torch swarm: with a stage lost and rebuilt its record replays to the same losses") {
  const char* weights = GENERATE("gradient", "uniform", "copy", "random");
  const char* moments = GENERATE("average", "fresh");
  const auto stage = GENERATE(1u, 3u);
  INFO(weights << ", moments " << moments << ", stage " << stage);
  const TextFile text;
  SimOptions options;
  options.chunk_bytes = 4'096;
  options.runner = [make = torch_factory()](std::size_t) { return make(); };
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  nlohmann::json submitted = tiny_job(text.path, {4, true, false, "float32"});
  submitted["steps"] = 20;
  submitted["recovery"] = {{"policy", "checkfree"}, {"weights", weights}, {"moments", moments}};
  const std::string id = cluster.submit(submitted);
  REQUIRE(cluster.run_until_commit(id, 6));
  for (const net::NodeKey& key : plan_of(cluster, id).replicas(stage)) cluster.kill(cluster.node_of(key));
  CHECK(cluster.run_until_ended(id));
  INFO(cluster.last_lines());
  REQUIRE(cluster.job(id)->state == scheduler::JobState::done);

  const auto job = std::move(scheduler::parse_job(cluster.job(id)->spec, id)).value();
  const std::vector<RecordStep> steps = cluster.record(id);
  CHECK(join(check_record(job, cluster.plans(id), steps, true)) == "");
  CHECK(join(check_replay(job, steps, torch_factory(), 0)) == "");
  const auto back =
      std::ranges::find_if(steps, [](const RecordStep& step) { return !step.recoveries.empty(); });
  REQUIRE(back != steps.end());
  CHECK(back->recoveries[0].stage == stage);
  // What the other stages have learned is not lost.
  CHECK(*steps[20].loss < *steps[1].loss);
}

TEST_CASE("Torch swarm: what is exported of a running job are solo's weights at that commit") {
  const TextFile text;
  char name[] = "/tmp/sidestep-snapshots-XXXXXX";
  REQUIRE(mkdtemp(name) != nullptr);
  const std::string folder = name;
  int runners = 0;
  SimOptions options;
  options.link = {.delay_us_max = 5'000, .loss = 0.01, .repetition = 0.02, .overtaking = 0.05};
  options.chunk_bytes = 4'096;
  options.runner = [&](std::size_t) {
    return std::make_unique<daemon::TorchRunner>(
        daemon::TorchRunnerOptions{.snapshot_folder = folder + "/" + std::to_string(runners++)});
  };
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  const std::string id = cluster.submit(tiny_job(text.path, {3, false, false, "float32"}));
  REQUIRE(cluster.run_until_commit(id, 3));
  const SimCluster::Export got = cluster.export_job(id);
  INFO(cluster.last_lines());
  REQUIRE(got.problem == "");
  CHECK(got.commit > 3);
  REQUIRE(got.commit <= 10);
  CHECK(cluster.run_until_ended(id));

  const auto job = std::move(scheduler::parse_job(cluster.job(id)->spec, id)).value();
  daemon::TaskRunner* solo = nullptr;
  std::vector<std::vector<float>> expected;
  const auto factory = [&] {
    auto runner = std::make_unique<daemon::TorchRunner>(
        daemon::TorchRunnerOptions{.snapshot_folder = folder + "/solo"});
    solo = runner.get();
    return runner;
  };
  const Status status = daemon::run_solo(job, factory, [&](const RecordStep& step) {
    if (step.step != got.commit) return Status();
    for (std::uint32_t stage = 0; stage < 3; ++stage) {
      const auto saved = solo->run(1, daemon::SaveSnapshot{"solo", step.step, stage});
      REQUIRE(saved.problem + saved.fault == "");
      const net::SliceRequest all{"solo", step.step, stage, net::SnapshotPart::weights, 0, saved.elements};
      const auto read = solo->run(2, daemon::ReadSlice{all});
      REQUIRE(read.problem + read.fault == "");
      const auto* values = reinterpret_cast<const float*>(read.tensor.payload.data());
      expected.emplace_back(values, values + saved.elements);
    }
    return Status::refused("enough");
  });
  CHECK(status.message() == "enough");
  REQUIRE(expected.size() == got.stages.size());
  for (std::size_t stage = 0; stage < expected.size(); ++stage) {
    REQUIRE(expected[stage].size() == got.stages[stage].size());
    double largest = 0;
    for (std::size_t i = 0; i < expected[stage].size(); ++i)
      largest = std::max(largest, std::abs(static_cast<double>(expected[stage][i]) - got.stages[stage][i]));
    // Adam turns rounding of a small gradient into a part of a step of 0.01; the weights moved by many of
    // them.
    CHECK(largest < 2e-3);
  }
  std::filesystem::remove_all(folder);
}

TEST_CASE("Torch swarm: a job that begins with an exported folder, on another number of stages") {
  const TextFile text;
  const daemon::testing::TemporaryFolder place;
  // The model that is exported: what solo begins with.
  const auto exporting = std::move(scheduler::parse_job(tiny_job(text.path, {.stages = 4}), "job")).value();
  double first_loss = 0;
  const Status stopped = daemon::run_solo(exporting, torch_factory(), [&](const RecordStep& step) {
    first_loss = step.loss.value_or(0);
    return step.step == 1 ? Status::refused("enough") : Status();
  });
  REQUIRE(stopped.message() == "enough");
  daemon::Stage whole(
      [&] {
        scheduler::JobSpec one_stage = exporting;
        one_stage.pipeline.stages = 1;
        return one_stage;
      }(),
      0, {});
  const auto weights = daemon::weights_by_name(whole);
  const Status written = daemon::write_hf_folder(
      place.path("m"), exporting.model, daemon::model_tensors(exporting.model, daemon::ElementType::f32),
      [&](const daemon::TensorInfo& tensor) -> Result<net::Payload> {
        const at::Tensor& values = weights.at(tensor.name);
        return net::Payload{std::make_shared<at::Tensor>(values),
                            static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()};
      },
      {});
  REQUIRE(written.ok());

  nlohmann::json job = tiny_job(text.path, {.stages = 2});
  job["model"]["num_hidden_layers"] = 4;
  job["model"]["initializer_range"] = 0.3;  // what the seed gives is another model
  job["init_from"] = place.path("m");
  SimOptions options;
  options.runner = [make = torch_factory()](std::size_t) { return make(); };
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  const std::string id = cluster.submit(job);
  CHECK(cluster.run_until_ended(id));
  INFO(cluster.last_lines());
  const scheduler::JobRow& row = *cluster.job(id);
  REQUIRE(row.state == scheduler::JobState::done);
  const auto spec = std::move(scheduler::parse_job(row.spec, id)).value();
  CHECK(spec.init_from_digest.starts_with("sha256:"));
  const std::vector<RecordStep> steps = cluster.record(id);
  CHECK(*steps[1].loss == Approx(first_loss).epsilon(1e-5));
  CHECK(*steps[10].loss < 0.9 * first_loss);
  CHECK(join(check_replay(spec, steps, torch_factory(), 1e-5)) == "");
}

// A job's `failures` in one process: what is lost when, what it becomes again, and that its record says so.
#include <catch2/catch.hpp>
#include <map>

#include "daemon/simulator/fake_runner.h"
#include "daemon/solo/replay.h"
#include "daemon/solo/solo.h"
#include "tests/sim/sim_job.h"
#include "tests/unit/data/temporary_folder.h"

using namespace sidestep;
using namespace sidestep::daemon;
using nlohmann::json;
using scheduler::RecordHeader;
using scheduler::RecordRecovery;
using scheduler::RecordStep;

namespace {

constexpr std::int64_t lossy_steps = 20;

json lossy_job(const json& recovery, const json& failures) {
  sim::JobShape shape;
  shape.stages = 6;
  shape.steps = lossy_steps;
  shape.max_swaps = 2;
  shape.validation_every = 5;
  json job = sim::job_json(shape);
  job["recovery"] = {{"policy", "checkfree"}};
  job["recovery"].update(recovery);
  job["failures"] = failures;
  return job;
}

json lost(std::int64_t step, const std::vector<std::uint32_t>& stages) {
  return {{"list", {{{"step", step}, {"stages", stages}}}}};
}

sim::FakeOptions lossy_options() {
  sim::FakeOptions options;
  options.exact_sums = false;
  options.limit_slots = false;
  return options;
}

struct SoloRun {
  Status status;
  std::vector<RecordStep> steps;
  std::map<std::uint64_t, double> losses;  // by step, as it ran last
  std::vector<RecordRecovery> recoveries;
};

SoloRun run_job(const json& spec) {
  const auto job = scheduler::parse_job(spec, "job");
  INFO(job.status().message());
  REQUIRE(job.ok());
  auto trace = std::make_shared<sim::FakeTrace>();
  SoloRun run;
  run.status = run_solo(job.value(), sim::fake_factory(lossy_options(), trace), [&](const RecordStep& step) {
    run.steps.push_back(step);
    if (step.loss) run.losses[step.step] = *step.loss;
    run.recoveries.insert(run.recoveries.end(), step.recoveries.begin(), step.recoveries.end());
    return Status();
  });
  for (const std::string& violation : trace->violations) UNSCOPED_INFO(violation);
  CHECK(trace->violations.empty());
  CHECK(trace->live_tensors == 0);
  return run;
}

SoloRun run_well(const json& spec) {
  SoloRun run = run_job(spec);
  INFO(run.status.message());
  REQUIRE(run.status.ok());
  return run;
}

// As a file would give it back.
ReplayReport replay_lossy(const json& spec, const std::vector<RecordStep>& steps) {
  auto trace = std::make_shared<sim::FakeTrace>();
  const auto job = scheduler::parse_job(spec, "job");
  auto next = steps.begin();
  const auto report = replay(
      RecordHeader{"sim-1", scheduler::to_json(job.value())}, recoveries_of(steps),
      [&]() -> Result<std::optional<RecordStep>> {
        if (next == steps.end()) return std::optional<RecordStep>();
        auto read = scheduler::parse_record_step(scheduler::to_json(*next++));
        if (!read.ok()) return read.status();
        return std::optional<RecordStep>(std::move(read).value());
      },
      sim::fake_factory(lossy_options(), trace));
  INFO(report.status().message());
  REQUIRE(report.ok());
  CHECK(trace->violations.empty());
  return report.value();
}

std::vector<std::uint32_t> sources(const RecordRecovery& recovery) {
  std::vector<std::uint32_t> stages;
  for (const auto& source : recovery.sources) stages.push_back(source.stage);
  return stages;
}

std::map<std::uint64_t, double> losses_without_failures() {
  return run_well(lossy_job(json::object(), json::object())).losses;
}

}  // namespace

TEST_CASE("Scripted losses: the record of each policy replays to the same losses, bit for bit") {
  const json recovery = GENERATE(
      json{{"policy", "checkfree"}}, json{{"policy", "checkfree"}, {"moments", "fresh"}},
      json{{"policy", "checkfree"}, {"weights", "uniform"}},
      json{{"policy", "checkfree"}, {"weights", "copy"}},
      json{{"policy", "checkfree"}, {"weights", "random"}}, json{{"policy", "checkfree"}, {"out_steps", 1}},
      json{{"policy", "checkfree"}, {"out_steps", 4}}, json{{"policy", "checkfree+"}},
      json{{"policy", "checkfree"}, {"out_steps", 1}, {"transfer_steps", 3}},
      json{{"policy", "mirror"}, {"every", 2}, {"transfer_steps", 3}},
      json{{"policy", "mirror"}, {"every", 1}}, json{{"policy", "mirror"}, {"every", 4}},
      json{{"policy", "mirror"}, {"every", 4}, {"moments", "fresh"}, {"out_steps", 2}},
      json{{"policy", "checkpoint"}, {"checkpoint_every", 6}});
  INFO(recovery.dump());
  json failures = lost(3, {1, 4});
  failures["list"].push_back({{"step", 20}, {"stages", {5}}});
  failures["probability"] = 0.03;
  failures["seed"] = 2;
  failures["stage_0"] = true;
  json job = lossy_job(recovery, failures);
  const double skip_ratio = GENERATE(0.0, 0.34);
  job["pipeline"]["skip_ratio"] = skip_ratio;
  const SoloRun run = run_well(job);
  CHECK(run.recoveries.size() > 3);
  const ReplayReport report = replay_lossy(job, run.steps);
  CHECK(report.identical);
  CHECK(report.first_difference == "");
  CHECK(report.steps + 1 == run.steps.size());
}

TEST_CASE("Scripted losses: a stage comes back out of its nearest neighbours that are left") {
  const auto first = run_well(lossy_job(json::object(), lost(7, {2})));
  REQUIRE(first.recoveries.size() == 1);
  CHECK(first.steps[7].recoveries.size() == 1);
  CHECK(sources(first.recoveries[0]) == std::vector<std::uint32_t>{1, 3});
  CHECK(first.recoveries[0].commit == 6);
  CHECK(first.recoveries[0].updates == 6);
  CHECK(first.recoveries[0].learning_rate_scale == 1.1);
  const auto adjacent = run_well(lossy_job(json::object(), lost(7, {2, 3})));
  REQUIRE(adjacent.recoveries.size() == 2);
  CHECK(sources(adjacent.recoveries[0]) == std::vector<std::uint32_t>{1, 4});
  CHECK(sources(adjacent.recoveries[1]) == std::vector<std::uint32_t>{1, 4});
  const auto last = run_well(lossy_job(json::object(), lost(7, {5})));
  CHECK(sources(last.recoveries.at(0)) == std::vector<std::uint32_t>{4});
  const auto twin = run_well(lossy_job({{"policy", "checkfree+"}}, lost(7, {5})));
  CHECK(sources(twin.recoveries.at(0)) == std::vector<std::uint32_t>{4});
  // Up to the loss nothing differs.
  const auto undisturbed = losses_without_failures();
  for (std::uint64_t step = 1; step < 7; ++step) CHECK(first.losses.at(step) == undisturbed.at(step));
  CHECK(first.losses.at(7) != undisturbed.at(7));
}

TEST_CASE("Scripted losses: a state that is taken twice, at once and later, is the same both times") {
  const auto [recovery, first, second] =
      GENERATE(table<json, int, int>({{json{{"policy", "checkpoint"}, {"checkpoint_every", 6}}, 7, 10},
                                      {json{{"policy", "mirror"}, {"every", 4}}, 5, 7}}));
  INFO(recovery.dump());
  json failures = lost(first, {2});
  failures["list"].push_back({{"step", second}, {"stages", {2}}});
  const json job = lossy_job(recovery, failures);
  const SoloRun run = run_well(job);
  const ReplayReport report = replay_lossy(job, run.steps);
  CHECK(report.first_difference == "");
  CHECK(report.identical);
}

TEST_CASE("Scripted losses: a stage that stays out is on no route, not of validation either") {
  const auto run = run_well(lossy_job({{"out_steps", 4}}, lost(10, {3})));
  for (const RecordStep& step : run.steps) {
    const bool out = step.step >= 10 && step.step < 14;
    CHECK(step.stages.size() == (out ? 5 : 6));
    for (const auto* routes : {&step.routes, &step.evaluations})
      for (const auto& route : *routes)
        CHECK(std::ranges::count(route.hops, 3u, &net::Hop::stage) == (out ? 0 : 1));
    CHECK(step.recoveries.size() == (step.step == 14 ? 1 : 0));
  }
  CHECK(run.recoveries.at(0).commit == 13);
  CHECK_FALSE(run.steps[11].evaluations.empty());
}

TEST_CASE("Scripted losses: a stage is out while it is rebuilt, and made of what there was when that began") {
  const auto run = run_well(lossy_job({{"out_steps", 2}, {"transfer_steps", 3}}, lost(10, {3})));
  for (const RecordStep& step : run.steps) {
    CHECK(step.stages.size() == (step.step >= 10 && step.step < 15 ? 5 : 6));
    CHECK(step.recoveries.size() == (step.step == 15 ? 1 : 0));
  }
  CHECK(run.recoveries.at(0).commit == 11);
}

TEST_CASE("Scripted losses: a stage with a second holder and a checkpoint lose nothing") {
  const auto [recovery, stage] = GENERATE(
      std::pair<json, std::uint32_t>{json{{"policy", "checkfree"}}, 0},
      std::pair<json, std::uint32_t>{json{{"policy", "checkfree+"}}, 0},
      std::pair<json, std::uint32_t>{json{{"policy", "mirror"}, {"every", 1}}, 2},
      std::pair<json, std::uint32_t>{json{{"policy", "mirror"}, {"every", 1}, {"moments", "fresh"}}, 2},
      std::pair<json, std::uint32_t>{json{{"policy", "checkpoint"}, {"checkpoint_every", 4}}, 2});
  INFO(recovery.dump());
  const auto run = run_well(lossy_job(recovery, lost(11, {stage})));
  CHECK_FALSE(run.recoveries.empty());
  CHECK(run.losses == run_well(lossy_job(recovery, json::object())).losses);
}

TEST_CASE("Scripted losses: a checkpoint has the steps since run again, once for each loss") {
  json failures = lost(11, {2});
  failures["list"].push_back({{"step", 10}, {"stages", {3}}});
  const auto run = run_well(lossy_job({{"policy", "checkpoint"}, {"checkpoint_every", 4}}, failures));
  std::vector<std::uint64_t> numbers;
  for (const RecordStep& step : run.steps)
    if (step.step >= 8 && step.step <= 12) numbers.push_back(step.step);
  CHECK(numbers == std::vector<std::uint64_t>{8, 9, 9, 10, 9, 10, 11, 12});
  CHECK(run.recoveries.size() == 12);
}

TEST_CASE("Scripted losses: a record file with a roll-back is read, one that goes back without is refused") {
  const json job = lossy_job({{"policy", "checkpoint"}, {"checkpoint_every", 4}}, lost(7, {2}));
  SoloRun run = run_well(job);
  const daemon::testing::TemporaryFolder folder;
  const auto read_all = [&] {
    std::string text =
        to_json(RecordHeader{"sim-1", scheduler::to_json(scheduler::parse_job(job, "job").value())}).dump();
    for (const RecordStep& step : run.steps) text += "\n" + to_json(step).dump();
    daemon::testing::write_bytes(folder.path("record"), text + "\n");
    auto file = std::move(RecordFile::open(folder.path("record"))).value();
    std::size_t count = 0;
    for (;; ++count) {
      const auto step = file.next();
      if (!step.ok()) return step.status().message().substr(folder.path("record").size());
      if (!step.value()) return std::to_string(count) + " steps";
    }
  };
  CHECK(read_all() == "24 steps");  // 0 to 6, 5 to 21
  REQUIRE(run.steps[7].step == 5);
  run.steps[7].recoveries.clear();
  CHECK(read_all() == ":9: step 5 where step 7 should be");
}

TEST_CASE("Scripted losses: a mirror is as old as the last commit that was mirrored") {
  const auto run = run_well(lossy_job({{"policy", "mirror"}, {"every", 4}}, lost(12, {2})));
  REQUIRE(run.recoveries.size() == 1);
  CHECK(run.recoveries[0].commit == 8);
  CHECK(run.recoveries[0].is_own());
  CHECK(run.recoveries[0].policy == "mirror");
  CHECK(run.losses.at(12) != losses_without_failures().at(12));
}

TEST_CASE("Scripted losses: a job that cannot go on ends with what was lost") {
  struct Row {
    json recovery;
    std::vector<std::uint32_t> stages;
    const char* message;
  };
  const Row rows[] = {
      {{{"policy", "replica"}},
       {2, 4},
       "step 9: stages 2, 4 are lost together, and recovery.policy is \"replica\""},
      {{{"origins", 1}},
       {0},
       "step 9: stage 0 is lost, and with recovery.origins 1 there is nothing to make embedding, final norm "
       "and head of stage 0 from"},
  };
  for (const Row& row : rows) {
    const auto run = run_job(lossy_job(row.recovery, lost(9, row.stages)));
    CHECK(run.status.message() == row.message);
    CHECK(run.steps.back().step == 8);
  }
  json job = lossy_job(json::object(), lost(9, {1, 2, 3, 4, 5}));
  job["pipeline"]["stage_0_layers"] = false;
  job["model"]["num_hidden_layers"] = 5;
  CHECK(run_job(job).status.message() ==
        "step 9: stages 1, 2, 3, 4, 5 are lost together, and no stage with layers is left to rebuild stage 1 "
        "from");
}

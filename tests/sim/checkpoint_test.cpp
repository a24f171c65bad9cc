// Checkpoints while a job trains, and jobs that go back to one, or begin with one.
#include <catch2/catch.hpp>

#include "net/clock.h"
#include "tests/sim/checker.h"
#include "tests/sim/scripted.h"

using namespace sidestep;
using namespace sidestep::sim;
using net::ms;
using net::second;
using scheduler::JobState;

namespace {

JobShape checkpointed_job() {
  JobShape shape = long_job();
  shape.steps = 40;
  shape.recovery = "checkpoint";
  shape.checkpoint_every = 5;
  shape.validation_every = 7;
  return shape;
}

std::vector<std::uint64_t> checkpoints(const SimCluster& cluster, const std::string& job) {
  std::vector<std::uint64_t> commits;
  for (const auto& one : cluster.job(job)->checkpoints) commits.push_back(one.commit);
  return commits;
}

}  // namespace

TEST_CASE("Checkpoint: is written while training goes on, the last with the last update") {
  SimOptions options;
  options.fake.folder = std::make_shared<FakeFolder>();
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(checkpointed_job()), 6);
  require_soon(cluster, 60 * second, [&] { return !checkpoints(cluster, job).empty(); });
  CHECK(*cluster.job(job)->commit < 10);
  require_done(cluster, job, options);
  CHECK(checkpoints(cluster, job).back() == 40);
  CHECK(checkpoints(cluster, job).size() == 3);  // two, and one more until a newer one is known
  CHECK(options.fake.folder->manifests.size() == 3);
  CHECK(cluster.job(job)->went_back == 0);
}

TEST_CASE("Checkpoint: a stage's last holder is lost, and the job goes back on those that are left") {
  const auto stage = GENERATE(0u, 2u, 3u);
  INFO("stage " << stage);
  SimOptions options;
  options.fake.folder = std::make_shared<FakeFolder>();
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(checkpointed_job()), 6);
  require_soon(cluster, 60 * second, [&] { return checkpoints(cluster, job).size() >= 2; });
  kill_all_of(cluster, job, stage);
  require_soon(cluster, 60 * second, [&] { return cluster.job(job)->went_back == 1; });
  CHECK(cluster.job(job)->resumed->commit == checkpoints(cluster, job).back());
  require_done(cluster, job, options);
}

TEST_CASE("Checkpoint: all nodes are lost at once, and the job goes on with those that come") {
  const bool scheduler_too = GENERATE(false, true);
  SimOptions options;
  options.fake.folder = std::make_shared<FakeFolder>();
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(checkpointed_job()), 6);
  require_soon(cluster, 60 * second, [&] { return !checkpoints(cluster, job).empty(); });
  for (std::size_t node = 0; node < options.nodes; ++node) cluster.kill(node);
  require_soon(cluster, 60 * second, [&] { return cluster.job(job)->state == JobState::preparing; });
  if (scheduler_too) cluster.restart_scheduler(500 * ms);
  cluster.run_for(5 * second);
  CHECK(cluster.job(job)->commit == checkpoints(cluster, job).back());
  for (std::size_t node = 1; node < options.nodes; ++node) cluster.start_node(node);
  require_done(cluster, job, options);
}

TEST_CASE("Checkpoint: fewer nodes than stages are left, and they go on with several each") {
  SimOptions options;
  options.nodes = 4;
  options.fake.folder = std::make_shared<FakeFolder>();
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(checkpointed_job()), 4);
  require_soon(cluster, 60 * second, [&] { return !checkpoints(cluster, job).empty(); });
  kill_all_of(cluster, job, 1);
  kill_all_of(cluster, job, 3);
  require_done(cluster, job, options);
  CHECK(plan_of(cluster, job).stages_of.size() == 2);
}

TEST_CASE("Checkpoint: where none could be written the job begins anew, and goes on without them") {
  SimOptions options;
  options.fake.folder = std::make_shared<FakeFolder>();
  options.fake.folder->full = true;
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(checkpointed_job()), 6);
  REQUIRE(cluster.run_until_commit(job, 12));
  CHECK(cluster.last_lines().find("no space left on device") != std::string::npos);
  kill_all_of(cluster, job, 1);
  require_soon(cluster, 60 * second, [&] { return cluster.job(job)->went_back == 1; });
  CHECK_FALSE(cluster.job(job)->resumed.has_value());
  require_done(cluster, job, options);
  CHECK(checkpoints(cluster, job).empty());
}

TEST_CASE("Checkpoint: where the newest is damaged the job goes back to the one before") {
  SimOptions options;
  options.fake.folder = std::make_shared<FakeFolder>();
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(checkpointed_job()), 6);
  require_soon(cluster, 60 * second, [&] { return checkpoints(cluster, job).size() >= 2; });
  kill_all_of(cluster, job, 2);
  require_soon(cluster, 60 * second, [&] { return cluster.job(job)->went_back == 1; });
  const std::vector<std::uint64_t> before = checkpoints(cluster, job);
  std::string newest;
  for (const auto& [folder, manifest] : options.fake.folder->manifests)
    if (nlohmann::json::parse(manifest).at("commit") == before.back()) newest = folder;
  options.fake.folder->damaged = {newest};
  require_soon(cluster, 60 * second, [&] { return cluster.job(job)->went_back == 2; });
  CHECK(cluster.job(job)->resumed->commit == before.at(before.size() - 2));
  require_done(cluster, job, options);
  CHECK_FALSE(options.fake.folder->manifests.contains(newest));
}

TEST_CASE("Checkpoint: a node that missed that the job went back ends its old run") {
  SimOptions options;
  options.fake.folder = std::make_shared<FakeFolder>();
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(checkpointed_job()), 6);
  REQUIRE(cluster.run_until_commit(job, 12));
  const std::size_t cut = holder_of(cluster, job, 0);
  cluster.cut_from_scheduler(cut);
  kill_all_of(cluster, job, 2);
  require_soon(cluster, 60 * second, [&] { return cluster.job(job)->went_back >= 1; });
  cluster.run_for(3 * second);
  cluster.heal_to_scheduler(cut);
  require_done(cluster, job, options);
}

TEST_CASE("Checkpoint: another job begins with the newest of an ended one, and a replay of it too") {
  SimOptions options;
  options.fake.folder = std::make_shared<FakeFolder>();
  SimCluster cluster(options);
  const std::string first = begin(cluster, job_json(checkpointed_job()), 6);
  require_done(cluster, first, options);
  JobShape longer = checkpointed_job();
  longer.steps = 60;
  nlohmann::json json = job_json(longer);
  const std::string folder = options.fake.folder->manifests.begin()->first;
  json["resume"] = {{"directory", folder.substr(0, folder.rfind('/'))}, {"commit", 40}};
  json["name"] = "more";
  const std::string second_job = cluster.submit(json);
  REQUIRE(cluster.run_until_ended(second_job, 600 * second));
  INFO(cluster.last_lines());
  REQUIRE(cluster.job(second_job)->state == JobState::done);
  const auto steps = cluster.record(second_job);
  REQUIRE_FALSE(steps.empty());
  CHECK(steps.front().step == 40);
  CHECK(steps.back().step == 61);
  const auto spec = scheduler::parse_job(cluster.job(second_job)->spec, "job").value();
  FakeOptions free_of_slots = options.fake;
  free_of_slots.limit_slots = false;
  const auto replayed = std::make_shared<FakeTrace>();
  CHECK(join(check_replay(spec, steps, fake_factory(free_of_slots, replayed), 0)) == "");
  CHECK(join(replayed->violations) == "");
  CHECK(join(cluster.violations()) == "");
}

// Snapshots and exports under faults, and jobs whose numbers do not stay finite.
#include <catch2/catch.hpp>

#include "net/clock.h"
#include "tests/sim/checker.h"
#include "tests/sim/sim_job.h"

using namespace sidestep;
using namespace sidestep::sim;
using net::ms;
using net::second;
using scheduler::JobState;
using scheduler::Plan;

namespace {

// Every stage is the one that its holder had after the commit whose update was made at `step`; what the
// holders had at each step is for check_done, which compares it with a replay in one process.
void check_stages(const SimCluster& cluster, const std::string& job, const SimCluster::Export& got,
                  std::uint64_t step) {
  INFO(cluster.last_lines());
  REQUIRE(got.problem == "");
  const Plan plan = plan_of(cluster, job);
  REQUIRE(got.stages.size() == plan.stage_count());
  for (std::uint32_t stage = 0; stage < plan.stage_count(); ++stage) {
    // One replica's copy is enough for a snapshot; another may still wait for the Commit.
    bool found = false;
    for (const net::NodeKey& replica : plan.replicas(stage)) {
      const FakeJob& part = cluster.fake(cluster.node_of(replica)).jobs.at(0);
      if (found || !part.weights.contains(step)) continue;
      found = true;
      CHECK(got.stages[stage] == snapshot_of(part.weights.at(step).at(stage), stage));
    }
    CHECK(found);
  }
}

SimOptions faulty_links() {
  SimOptions options;
  options.link = {.delay_us_max = 20 * ms,
                  .loss = 0.05,
                  .repetition = 0.05,
                  .overtaking = 0.2,
                  .clog = 0.01,
                  .clog_us_max = 500 * ms};
  return options;
}

}  // namespace

TEST_CASE("Export: a running job's stages are all of one commit, on links that lose, repeat and reorder") {
  SimOptions options = faulty_links();
  options.seed = GENERATE(range(1, 9));
  JobShape shape = long_job();
  shape.validation_every = GENERATE(0, 4);
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  const std::string job = cluster.submit(job_json(shape));
  REQUIRE(cluster.run_until_commit(job, 3));
  const SimCluster::Export first = cluster.export_job(job);
  CHECK(first.commit > 3);
  check_stages(cluster, job, first, std::min<std::uint64_t>(first.commit, 30));
  const SimCluster::Export later = cluster.export_job(job);
  CHECK(later.commit > first.commit);
  check_stages(cluster, job, later, std::min<std::uint64_t>(later.commit, 30));
  REQUIRE(cluster.run_until_ended(job));
  cluster.network().heal_all();
  cluster.run_for(20 * second);
  CHECK(join(check_done(cluster, job, options.fake)) == "");
  const SimCluster::Export last = cluster.export_job(job);
  check_stages(cluster, job, last, 30);
}

TEST_CASE("Export: the trained model outlives the job, the scheduler and the daemons") {
  SimOptions options;
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  const std::string job = cluster.submit(job_json(long_job()));
  REQUIRE(cluster.run_until_ended(job));
  REQUIRE(cluster.job(job)->state == JobState::done);
  CHECK(cluster.job(job)->reason == "");
  cluster.restart_scheduler(1 * second);
  for (std::size_t i = 0; i < 6; ++i) {
    cluster.kill(i);
    cluster.at(cluster.now_us() + 3 * second, [&cluster, i] { cluster.start_node(i); });
  }
  cluster.run_for(10 * second);
  REQUIRE(cluster.run_until_joined(6));
  check_stages(cluster, job, cluster.export_job(job), 30);
  // A stage whose only holder is away is named, and is back with it.
  const std::size_t only = holder_of(cluster, job, 3);
  cluster.kill(only);
  cluster.run_for(2 * second);
  const SimCluster::Export away = cluster.export_job(job);
  CHECK_THAT(away.problem, Catch::Contains("stage 3 was saved by node-" + std::to_string(only + 1)));
  cluster.start_node(only);
  REQUIRE(cluster.run_until_joined(6));
  check_stages(cluster, job, cluster.export_job(job), 30);
}

TEST_CASE("Export: a replica gives a stage whose first holder is lost") {
  SimOptions options;
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  JobShape shape = long_job();
  shape.stages = 3;  // two nodes each
  const std::string job = cluster.submit(job_json(shape));
  REQUIRE(cluster.run_until_ended(job));
  for (std::uint32_t stage = 0; stage < 3; ++stage) cluster.kill(holder_of(cluster, job, stage));
  cluster.run_for(2 * second);
  check_stages(cluster, job, cluster.export_job(job), 30);
}

TEST_CASE("Export: a snapshot that a restart of the scheduler interrupts is asked for again") {
  SimOptions options;
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  const std::string job = cluster.submit(job_json(long_job()));
  REQUIRE(cluster.run_until_commit(job, 2));
  cluster.at(cluster.now_us() + 5 * ms, [&cluster] { cluster.restart_scheduler(700 * ms); });
  const SimCluster::Export got = cluster.export_job(job);
  CHECK(got.commit > 2);
  check_stages(cluster, job, got, std::min<std::uint64_t>(got.commit, 30));
}

TEST_CASE("Full disk: training goes on, the export says which node, and the end of the job warns") {
  SimOptions options;
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  const std::string job = cluster.submit(job_json(long_job()));
  REQUIRE(cluster.run_until_commit(job, 2));
  const std::size_t full = holder_of(cluster, job, 3);
  REQUIRE(plan_of(cluster, job).replicas(3).size() == 1);
  cluster.fill_disk(full);
  const std::string name = "node-" + std::to_string(full + 1);
  const SimCluster::Export got = cluster.export_job(job);
  CHECK_THAT(got.problem, Catch::Contains("stage 3: " + name) && Catch::Contains("no space left on device"));
  REQUIRE(cluster.run_until_ended(job));
  cluster.run_for(20 * second);
  CHECK(join(check_done(cluster, job, options.fake)) == "");
  CHECK_THAT(cluster.job(job)->reason, Catch::Contains("not saved whole: stage 3: " + name));
  CHECK_THAT(cluster.export_job(job).problem, Catch::Contains("ended without a saved state"));
}

TEST_CASE("Full disk: however often saving fails there, the newest whole state stays at the others") {
  SimOptions options;
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  const std::string job = cluster.submit(job_json(long_job()));
  REQUIRE(cluster.run_until_commit(job, 2));
  const SimCluster::Export whole = cluster.export_job(job);
  check_stages(cluster, job, whole, whole.commit);
  cluster.fill_disk(holder_of(cluster, job, 3));
  for (int i = 0; i < 4; ++i)
    CHECK_THAT(cluster.export_job(job).problem, Catch::Contains("no space left on device"));
  REQUIRE(cluster.run_until_ended(job));
  const SimCluster::Export last = cluster.export_job(job);
  CHECK(last.commit == whole.commit);
  check_stages(cluster, job, last, whole.commit);
}

TEST_CASE(
    "Non-finite numbers: too many in a row end the job with its last good state, and the record replays") {
  SimOptions options = faulty_links();
  options.fake.non_finite_step = 6;
  options.fake.non_finite_last = 30;
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  nlohmann::json json = job_json(long_job());
  json["optimizer"]["non_finite_max"] = 4;
  const std::string id = cluster.submit(json);
  REQUIRE(cluster.run_until_ended(id));
  const scheduler::JobRow& row = *cluster.job(id);
  INFO(row.reason);
  CHECK(row.state == JobState::failed);
  CHECK(*row.commit == 9);
  CHECK(row.skipped_updates == 4);
  CHECK_THAT(row.reason, Catch::Contains("steps 6 to 9 made no update") &&
                             Catch::Contains("the gradient of stage 0 at node-") &&
                             Catch::Contains("`sidestep export " + id +
                                             " --out DIR` gives the state of commit 9, "
                                             "which is that of step 5"));
  cluster.network().heal_all();
  cluster.run_for(20 * second);
  const SimCluster::Export got = cluster.export_job(id);
  CHECK(got.commit == 9);
  check_stages(cluster, id, got, 5);
  const auto job = std::move(scheduler::parse_job(row.spec, id)).value();
  const auto steps = cluster.record(id);
  CHECK(steps.size() == 10);
  CHECK(join(check_record(job, cluster.plans(id), steps, false)) == "");
  FakeOptions replaying = options.fake;
  replaying.limit_slots = false;
  const auto replayed = std::make_shared<FakeTrace>();
  CHECK(join(check_replay(job, steps, fake_factory(replaying, replayed), 0)) == "");
  CHECK(join(cluster.violations()) == "");
}

TEST_CASE("Non-finite numbers: a few in a row, or any number where no limit is set, end nothing") {
  SimOptions options;
  options.fake.non_finite_step = 6;
  nlohmann::json json = job_json(long_job());
  SECTION("a step less than the limit") {
    options.fake.non_finite_last = 8;
    json["optimizer"]["non_finite_max"] = 4;
  }
  SECTION("no limit") {
    options.fake.non_finite_last = 20;
    json["optimizer"]["non_finite_max"] = 0;
  }
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  const std::string job = cluster.submit(json);
  REQUIRE(cluster.run_until_ended(job));
  cluster.run_for(20 * second);
  CHECK(cluster.job(job)->skipped_updates == options.fake.non_finite_last - 5);
  CHECK(join(check_done(cluster, job, options.fake)) == "");
}

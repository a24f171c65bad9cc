// Scripted runs: one thing goes wrong at a chosen moment, and what must come of it is known.
#include <catch2/catch.hpp>

#include "net/clock.h"
#include "tests/sim/checker.h"
#include "tests/sim/sim_job.h"

using namespace sidestep;
using namespace sidestep::sim;
using net::ms;
using net::second;
using scheduler::JobState;
using scheduler::PlacementRequest;
using scheduler::Plan;

namespace {

void expect_done(const SimCluster& cluster, const std::string& job, const SimOptions& options) {
  INFO(cluster.last_lines());
  CHECK(join(check_done(cluster, job, options.fake)) == "");
}

// The only holder of some stage.
std::size_t lone_holder(const SimCluster& cluster, const std::string& job) {
  const Plan plan = plan_of(cluster, job);
  std::uint32_t stage = 0;
  while (plan.replicas(stage).size() != 1) ++stage;
  return cluster.node_of(plan.replicas(stage).front());
}

// Two origins, and one node for each of stages 1 to 3, which the routes visit in different orders: those that
// hold a slot of one stage and want one of another meet others the other way round.
SimOptions crossing_swarm() {
  SimOptions options;
  options.nodes = 5;
  options.fake.exact_sums = false;
  options.planner = [](const PlacementRequest& request) -> Result<Plan> {
    Plan plan;
    plan.epoch = request.epoch;
    plan.phases.resize(1);
    for (std::uint32_t i = 0; i < 5; ++i) {
      plan.stages_of[request.nodes[i].key] = {i < 2 ? 0 : i - 1};
      plan.slots_of[request.nodes[i].key] = static_cast<std::uint32_t>(request.job.pipeline.slots);
    }
    const std::vector<std::vector<std::uint32_t>> orders{{1, 2, 3}, {3, 2, 1}, {2, 1, 3}};
    for (std::uint32_t i = 0; i < request.job.pipeline.microbatches_per_step; ++i) {
      scheduler::PlannedRoute& route = plan.phases.front().routes.emplace_back();
      route.microbatch = i;
      route.hops.push_back({0, request.nodes[i % 2].key});
      for (const std::uint32_t stage : orders[i % 3])
        route.hops.push_back({stage, request.nodes[stage + 1].key});
    }
    return plan;
  };
  return options;
}

}  // namespace

TEST_CASE("Deadlock: routes in crossed orders finish with any number of slots") {
  JobShape shape = long_job();
  shape.steps = 3;
  shape.microbatches = 24;
  shape.slots = GENERATE(1, 2, 3);
  shape.deterministic = GENERATE(false, true);
  shape.tied = GENERATE(false, true);
  SimOptions options = crossing_swarm();
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(5));
  const std::string job = cluster.submit(job_json(shape));
  CHECK(cluster.run_until_ended(job));
  cluster.run_for(20 * second);
  expect_done(cluster, job, options);
}

TEST_CASE("Deadlock: the crossed orders would wait for ever if no forward ran without a slot") {
  JobShape shape = long_job();
  shape.steps = 3;
  shape.microbatches = 24;
  shape.slots = GENERATE(1, 2);
  SimOptions options = crossing_swarm();
  options.slot_deadline_us = 3'600 * second;
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(5));
  const std::string job = cluster.submit(job_json(shape));
  CHECK_FALSE(cluster.run_until_ended(job, 600 * second));
}

TEST_CASE("Deadlock: a node with several stages shares its slots among them and goes on") {
  JobShape shape = long_job();
  shape.steps = 3;
  shape.slots = GENERATE(1, 2);
  shape.deterministic = GENERATE(false, true);
  shape.tied = GENERATE(false, true);
  SimOptions options;
  options.nodes = 2;
  // Two origins, each also a later stage of the other's microbatches; stages 1 and 2 are at one of them only.
  options.planner = [](const PlacementRequest& request) -> Result<Plan> {
    const net::NodeKey& a = request.nodes[0].key;
    const net::NodeKey& b = request.nodes[1].key;
    Plan plan;
    plan.epoch = request.epoch;
    plan.phases.resize(1);
    plan.stages_of = {{a, {0, 1, 3}}, {b, {0, 2, 3}}};
    const auto slots = static_cast<std::uint32_t>(request.job.pipeline.slots);
    plan.slots_of = {{a, slots}, {b, slots}};
    for (std::uint32_t i = 0; i < request.job.pipeline.microbatches_per_step; ++i) {
      const bool even = i % 2 == 0;
      plan.phases.front().routes.push_back({i,
                                            {{0, even ? a : b},
                                             {even ? 1u : 2u, even ? a : b},
                                             {even ? 2u : 1u, even ? b : a},
                                             {3, even ? b : a}}});
    }
    return plan;
  };
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(2));
  const std::string job = cluster.submit(job_json(shape));
  CHECK(cluster.run_until_ended(job));
  cluster.run_for(20 * second);
  expect_done(cluster, job, options);
}

TEST_CASE("Scheduler lost: commits go on without it, and none is missing when it is back") {
  SimOptions options;
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  const std::string job = cluster.submit(job_json(long_job()));
  REQUIRE(cluster.run_until_commit(job, 3));
  cluster.restart_scheduler(60 * second);
  cluster.run_for(55 * second);
  // All 30 steps fit into its absence, and nobody could tell it.
  CHECK(*cluster.job(job)->commit < 30);
  CHECK(cluster.fake(holder_of(cluster, job, 0)).jobs.at(0).updates == 30);
  REQUIRE(cluster.run_until_ended(job, 30 * second));
  cluster.run_for(20 * second);
  expect_done(cluster, job, options);
}

TEST_CASE("Clocks: a swarm with one an hour ahead and one an hour behind trains as ever, and says so") {
  SimOptions options;
  options.nodes = 4;
  options.clocks_off_us = {3'600 * second, -3'600 * second};
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(4));
  const std::string job = cluster.submit(job_json(long_job()));
  REQUIRE(cluster.run_until_ended(job));
  cluster.run_for(20 * second);
  expect_done(cluster, job, options);
  const auto reply = cluster.ask("logs", {{"node", "scheduler"}, {"level", "warning"}});
  REQUIRE(reply);
  const std::string warnings = reply->body.dump();
  CHECK(warnings.find("its clock is 3600 s ahead of the scheduler's") != std::string::npos);
  CHECK(warnings.find("its clock is 3600 s behind the scheduler's") != std::string::npos);
}

TEST_CASE("Stage lost: the job ends within 6 s, with the node and the last commit as reason") {
  const bool machine_too = GENERATE(false, true);
  SimOptions options;
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  const std::string job = cluster.submit(job_json(long_job()));
  REQUIRE(cluster.run_until_commit(job, 5));
  const std::size_t lost = lone_holder(cluster, job);
  const std::int64_t lost_us = cluster.now_us();
  cluster.kill(lost, machine_too);
  REQUIRE(cluster.run_until_ended(job, 6 * second));
  // A closed connection is heard of at once; a machine that is gone is only silent.
  CHECK(cluster.now_us() - lost_us < (machine_too ? 6 : 1) * second);
  const scheduler::JobRow& row = *cluster.job(job);
  INFO(row.reason);
  CHECK(row.state == JobState::failed);
  CHECK_THAT(row.reason, Catch::Contains("node-" + std::to_string(lost + 1)));
  CHECK_THAT(row.reason, Catch::Contains("step " + std::to_string(*row.commit)));
  cluster.run_for(20 * second);
  const auto job_spec_stored = std::move(scheduler::parse_job(row.spec, job)).value();
  CHECK(join(check_record(job_spec_stored, cluster.plans(job), cluster.record(job), false)) == "");
  for (std::size_t i = 0; i < 6; ++i) {
    if (i != lost) CHECK(cluster.fake(i).jobs.at(0).dropped);
  }
  CHECK(join(cluster.violations()) == "");
}

TEST_CASE("Stage lost: the next job runs on those that are left") {
  SimOptions options;
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  const std::string first = cluster.submit(job_json(long_job()));
  JobShape shape = long_job();
  shape.name = "after";
  const std::string second_job = cluster.submit(job_json(shape));
  REQUIRE(cluster.run_until_commit(first, 2));
  cluster.kill(lone_holder(cluster, first));
  REQUIRE(cluster.run_until_ended(second_job));
  CHECK(cluster.job(first)->state == JobState::failed);
  cluster.run_for(20 * second);
  expect_done(cluster, second_job, options);
}

TEST_CASE("Stage lost: SIGTERM says goodbye, and the job ends at once") {
  SimOptions options;
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  const std::string job = cluster.submit(job_json(long_job()));
  REQUIRE(cluster.run_until_commit(job, 2));
  cluster.stop(lone_holder(cluster, job), "terminated");
  REQUIRE(cluster.run_until_ended(job, 1 * second));
  CHECK(cluster.job(job)->state == JobState::failed);
}

TEST_CASE("Node lost: the job goes on while its stage has a replica, whoever it was and whenever") {
  // Stage 0 and one other have two holders each.
  const bool lead = GENERATE(true, false);
  for (std::int64_t moment = 0; moment < 40; ++moment) {
    JobShape shape = long_job();
    shape.steps = 12;
    shape.validation_every = 4;
    SimOptions options;
    options.seed = static_cast<std::uint64_t>(moment + 1);
    SimCluster cluster(options);
    cluster.start();
    REQUIRE(cluster.run_until_joined(6));
    const std::string job = cluster.submit(job_json(shape));
    REQUIRE(cluster.run_until_commit(job, 3));
    cluster.run_for(moment * 7 * ms);  // one to two steps
    const Plan plan = plan_of(cluster, job);
    REQUIRE(plan.replicas(0).size() == 2);
    cluster.kill(cluster.node_of(lead ? plan.lead_origin() : plan.replicas(0).back()));
    REQUIRE(cluster.run_until_ended(job, 60 * second));
    cluster.run_for(20 * second);
    CHECK(plan_of(cluster, job).epoch == 2);
    expect_done(cluster, job, options);
  }
}

TEST_CASE(
    "Node lost: an origin that only the scheduler cannot hear is left behind, and nothing is done twice") {
  SimOptions options;
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  const std::string job = cluster.submit(job_json(long_job()));
  REQUIRE(cluster.run_until_commit(job, 5));
  const std::size_t lead = cluster.node_of(plan_of(cluster, job).lead_origin());
  cluster.cut_from_scheduler(lead);
  // It goes on to commit with the others until the scheduler declares it dead; those records come from
  // others.
  REQUIRE(cluster.run_until([&] { return plan_of(cluster, job).epoch == 2; }, 10 * second));
  cluster.run_for(10 * second);
  cluster.heal_to_scheduler(lead);
  REQUIRE(cluster.run_until_ended(job, 60 * second));
  cluster.run_for(20 * second);
  expect_done(cluster, job, options);
}

TEST_CASE("Node lost: while the scheduler is away it waits, and the job goes on when it is back") {
  SimOptions options;
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  const std::string job = cluster.submit(job_json(long_job()));
  REQUIRE(cluster.run_until_commit(job, 3));
  cluster.restart_scheduler(20 * second);
  cluster.run_for(2 * second);
  cluster.kill(cluster.node_of(plan_of(cluster, job).lead_origin()));
  REQUIRE(cluster.run_until_ended(job, 60 * second));
  cluster.run_for(20 * second);
  expect_done(cluster, job, options);
}

TEST_CASE("Cancel: the job ends, and every node forgets it") {
  SimOptions options;
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  const std::string job = cluster.submit(job_json(long_job()));
  REQUIRE(cluster.run_until_commit(job, 4));
  const auto reply = cluster.ask("cancel", {{"job", job}});
  REQUIRE(reply);
  CHECK(reply->code == Code::ok);
  REQUIRE(cluster.run_until_ended(job, 5 * second));
  CHECK(cluster.job(job)->state == JobState::cancelled);
  cluster.run_for(20 * second);
  for (std::size_t i = 0; i < 6; ++i) {
    CHECK(cluster.fake(i).jobs.at(0).dropped);
    CHECK(cluster.fake(i).live_tensors == 0);
  }
  CHECK(join(cluster.violations()) == "");
}

TEST_CASE("Queue: the second job waits for the first, then runs on the same nodes") {
  SimOptions options;
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  JobShape shape = long_job();
  shape.steps = 5;
  const std::string first = cluster.submit(job_json(shape));
  shape.name = "second";
  shape.stages = 2;
  const std::string next = cluster.submit(job_json(shape));
  REQUIRE(cluster.run_until_commit(first, 1));
  CHECK(cluster.job(next)->state == JobState::queued);
  REQUIRE(cluster.run_until_ended(next));
  cluster.run_for(20 * second);
  expect_done(cluster, first, options);
  expect_done(cluster, next, options);
}

TEST_CASE("Partition: nodes that cannot reach each other for a while go on where they were") {
  SimOptions options;
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  const std::string job = cluster.submit(job_json(long_job()));
  REQUIRE(cluster.run_until_commit(job, 3));
  // Both still speak to the scheduler, so nobody is dead; the step waits.
  const std::size_t a = holder_of(cluster, job, 1);
  const std::size_t b = holder_of(cluster, job, 2);
  const std::uint64_t commit = *cluster.job(job)->commit;
  for (std::size_t i = 0; i < 6; ++i) {
    if (i != a) cluster.cut(a, i);
    if (i != b) cluster.cut(b, i);
  }
  cluster.run_for(60 * second);
  CHECK(*cluster.job(job)->commit <= commit + 1);
  for (std::size_t i = 0; i < 6; ++i) {
    cluster.heal(a, i);
    cluster.heal(b, i);
  }
  REQUIRE(cluster.run_until_ended(job));
  cluster.run_for(20 * second);
  expect_done(cluster, job, options);
}

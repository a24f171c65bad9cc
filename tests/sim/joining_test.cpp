// Nodes that come and go while a job runs.
#include <catch2/catch.hpp>

#include "net/clock.h"
#include "tests/sim/checker.h"
#include "tests/sim/scripted.h"

using namespace sidestep;
using namespace sidestep::sim;
using net::ms;
using net::second;
using scheduler::JobState;
using scheduler::Plan;

namespace {

JobShape job_of_60(std::int64_t stages) {
  JobShape shape;
  shape.steps = 60;
  shape.stages = stages;
  shape.microbatches = 8;
  return shape;
}

SimOptions swarm_of(std::size_t nodes, std::size_t later) {
  SimOptions options;
  options.nodes = nodes;
  options.nodes_later = later;
  return options;
}

bool takes_part(const SimCluster& cluster, const std::string& job, std::size_t node) {
  return plan_of(cluster, job).stages_of.contains(cluster.key(node));
}

void expect_done(SimCluster& cluster, const std::string& job, const SimOptions& options) {
  CHECK(cluster.run_until_ended(job));
  cluster.run_for(20 * second);
  INFO(cluster.last_lines());
  CHECK(join(check_done(cluster, job, options.fake)) == "");
}

}  // namespace

TEST_CASE("Joining: a newcomer learns the stage with the fewest replicas and takes part") {
  const SimOptions options = swarm_of(4, 1);
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(job_of_60(3)), 3);
  const std::size_t newcomer = 3;
  cluster.start_node(newcomer);
  require_soon(cluster, 60 * second, [&] { return takes_part(cluster, job, newcomer); });
  CHECK(plan_of(cluster, job).stages_of.size() == 4);
  expect_done(cluster, job, options);
  // It worked: the record names it.
  bool named = false;
  for (const scheduler::RecordStep& step : cluster.record(job))
    for (const scheduler::RecordStage& stage : step.stages)
      for (const scheduler::RecordReplica& replica : stage.replicas)
        named |= replica.node == cluster.key(newcomer) && !replica.added.empty();
  CHECK(named);
}

TEST_CASE("Joining: a node that comes back under its key takes part again, and no step is lost") {
  const SimOptions options = swarm_of(6, 0);
  SimCluster cluster(options);
  JobShape shape = job_of_60(2);
  const std::string job = begin(cluster, job_json(shape), 6);
  const std::size_t node = GENERATE(0, 1, 2, 3, 4, 5);
  cluster.kill(node);
  require_soon(cluster, 60 * second, [&] { return !takes_part(cluster, job, node); });
  cluster.start_node(node);
  require_soon(cluster, 60 * second, [&] { return takes_part(cluster, job, node); });
  expect_done(cluster, job, options);
}

TEST_CASE("Joining: a node that was wrongly declared dead takes part again") {
  const SimOptions options = swarm_of(6, 0);
  SimCluster cluster(options);
  JobShape shape = job_of_60(2);
  shape.steps = 200;
  const std::string job = begin(cluster, job_json(shape), 6);
  const std::size_t node = GENERATE(0, 1, 2, 3, 4, 5);
  if (GENERATE(true, false))
    cluster.pause(node, 8 * second);
  else
    cluster.cut_from_scheduler(node);
  require_soon(cluster, 60 * second, [&] { return !takes_part(cluster, job, node); });
  cluster.run_for(4 * second);
  cluster.heal_to_scheduler(node);
  require_soon(cluster, 60 * second, [&] { return takes_part(cluster, job, node); });
}

TEST_CASE("Leaving: a node with replicas goes without a step begun anew") {
  const SimOptions options = swarm_of(6, 0);
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(job_of_60(2)), 6);
  const std::size_t node = GENERATE(0, 1, 2, 3, 4, 5);
  cluster.stop(node, "SIGTERM", 30 * second);
  require_soon(cluster, 20 * second, [&] { return cluster.stopped(node).has_value(); });
  CHECK(cluster.stopped(node)->status == 0);
  CHECK_FALSE(cluster.job(job)->state == JobState::failed);
  CHECK(cluster.job(job)->plan_at_commit);
  expect_done(cluster, job, options);
}

TEST_CASE("Leaving: the only holder of a stage gives it to a node that holds another") {
  const SimOptions options = swarm_of(3, 0);
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(job_of_60(3)), 3);
  const std::size_t node = cluster.node_of(plan_of(cluster, job).replicas(GENERATE(0u, 1u, 2u)).front());
  cluster.stop(node, "SIGTERM", 30 * second);
  require_soon(cluster, 20 * second, [&] { return cluster.stopped(node).has_value(); });
  CHECK(cluster.stopped(node)->reason == "SIGTERM");
  const Plan plan = plan_of(cluster, job);
  CHECK(plan.stages_of.size() == 2);
  CHECK(plan.stage_count() == 3);
  expect_done(cluster, job, options);
}

TEST_CASE(
    "Leaving: who fails to learn what it is to take over does so at the next try, and the job goes on") {
  const SimOptions options = swarm_of(2, 0);
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(job_of_60(2)), 2);
  const std::size_t node = GENERATE(0, 1);
  cluster.fail_lessons(1 - node, 2);
  cluster.stop(node, "SIGTERM", 30 * second);
  require_soon(cluster, 25 * second, [&] { return cluster.stopped(node).has_value(); });
  CHECK(cluster.stopped(node)->reason == "SIGTERM");
  CHECK(plan_of(cluster, job).stages_of.size() == 1);
  CHECK(cluster.fake(1 - node).lessons_failing == 0);
  expect_done(cluster, job, options);
}

TEST_CASE("Leaving: an operator drains a node, which ends") {
  const SimOptions options = swarm_of(4, 0);
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(job_of_60(2)), 4);
  const std::optional<net::Reply> reply = cluster.ask("drain", {{"node", "node-2"}});
  REQUIRE(reply);
  CHECK(reply->code == Code::ok);
  CHECK(cluster.run_until([&] { return cluster.stopped(1).has_value(); }, 20 * second));
  expect_done(cluster, job, options);
}

TEST_CASE("Leaving: a node that nobody can stand in for stays to the end of its grace period") {
  SimOptions options = swarm_of(2, 0);
  options.nodes_without_data = 1;
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(job_of_60(2)), 2);
  const std::size_t origin = cluster.node_of(plan_of(cluster, job).lead_origin());
  cluster.stop(origin, "SIGTERM", 5 * second);
  cluster.run_for(4 * second);
  CHECK_FALSE(cluster.stopped(origin));
  CHECK(cluster.run_until([&] { return cluster.stopped(origin).has_value(); }, 2 * second));
  CHECK(cluster.stopped(origin)->reason == "SIGTERM; its stages were not handed over in time");
}

TEST_CASE("Joining: the scheduler's restart in the middle of it loses nothing") {
  const SimOptions options = swarm_of(4, 1);
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(job_of_60(3)), 3);
  cluster.start_node(3);
  // From the question of what it can do up to the plan that takes it in.
  const std::int64_t after_ms = GENERATE(50, 150, 250, 350, 450, 600, 800, 1'000, 1'300);
  cluster.run_for(after_ms * ms);
  cluster.restart_scheduler(300 * ms);
  INFO("restart after " << after_ms << " ms");
  require_soon(cluster, 60 * second, [&] { return takes_part(cluster, job, 3); });
  expect_done(cluster, job, options);
}

TEST_CASE("Joining: a newcomer that dies on the way holds nobody up") {
  const SimOptions options = swarm_of(4, 1);
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(job_of_60(3)), 3);
  cluster.start_node(3);
  const std::int64_t after_ms = GENERATE(50, 150, 250, 350, 450, 600, 800, 1'000, 1'300);
  cluster.run_for(after_ms * ms);
  cluster.kill(3);
  INFO("killed after " << after_ms << " ms");
  expect_done(cluster, job, options);
}

TEST_CASE("Joining: a newcomer that dies on the way and comes back takes part after all") {
  const SimOptions options = swarm_of(4, 1);
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(job_of_60(3)), 3);
  cluster.start_node(3);
  const std::int64_t after_ms = GENERATE(150, 350, 450, 600, 800, 1'000);
  cluster.run_for(after_ms * ms);
  cluster.kill(3);
  cluster.start_node(3);
  INFO("killed after " << after_ms << " ms");
  require_soon(cluster, 60 * second, [&] { return takes_part(cluster, job, 3); });
  expect_done(cluster, job, options);
}

TEST_CASE("Leaving: a node that still learns goes at once") {
  const SimOptions options = swarm_of(4, 1);
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(job_of_60(3)), 3);
  cluster.start_node(3);
  require_soon(cluster, 60 * second, [&] { return plan_of(cluster, job).learners.contains(cluster.key(3)); });
  cluster.stop(3, "SIGTERM", 30 * second);
  require_soon(cluster, 20 * second, [&] { return cluster.stopped(3).has_value(); });
  CHECK(cluster.stopped(3)->reason == "SIGTERM");
  expect_done(cluster, job, options);
}

// Whole swarms: what the scheduler hears of tasks and ways is what they took.
#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "daemon/simulator/sim_cluster.h"
#include "net/clock.h"
#include "tests/sim/sim_job.h"

using namespace sidestep;
using namespace sidestep::sim;
using net::ms;
using net::second;

namespace {

JobShape watched_job() {
  JobShape shape;
  shape.steps = 200;
  shape.stages = 3;
  shape.microbatches = 6;
  return shape;
}

// The newest step that was timed whole, as soon as there is one.
nlohmann::json timed_step(SimCluster& cluster, const std::string& job) {
  for (const std::int64_t end_us = cluster.now_us() + 60 * second; cluster.now_us() < end_us;) {
    const auto reply = cluster.ask("times", {{"job", job}});
    if (reply && reply->code == Code::ok) return reply->body;
    cluster.run_for(200 * ms);
  }
  FAIL("no step was timed whole: " << cluster.last_lines());
  return {};
}

// Submits the job to six nodes; its id.
std::string begin(SimCluster& cluster) {
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  return cluster.submit(job_json(watched_job()));
}

}  // namespace

TEST_CASE("Watching: a timed step has every task of every microbatch once, in order, within the step") {
  SimOptions options;
  options.seed = GENERATE(range(1, 5));
  SimCluster cluster(options);
  const std::string job = begin(cluster);
  const nlohmann::json step = timed_step(cluster, job);
  CHECK(step.at("nodes").size() == 6);
  std::set<std::tuple<std::string, int, int>> tasks;
  std::map<int, std::int64_t> free_us;  // by node: one task at a time
  for (const auto& task : step.at("measured").at("tasks")) {
    const int node = task[0];
    const std::int64_t ready_us = task[4], begin_us = task[5], end_us = task[6];
    CHECK(tasks.emplace(task[1], task[2], task[3]).second);
    CHECK(ready_us <= begin_us);
    CHECK(begin_us < end_us);
    CHECK(begin_us >= free_us[node]);
    free_us[node] = end_us;
    CHECK(end_us <= step.at("nodes")[static_cast<std::size_t>(node)].at("commit_us").get<std::int64_t>());
  }
  CHECK(tasks.size() == 6 * (3 + 1 + 3));
  CHECK(step.at("predicted").at("tasks").size() == tasks.size());
  CHECK(step.at("measured_step_s").get<double>() > 0);
}

TEST_CASE("Watching: figures are those of the machines and links") {
  SimOptions options;
  options.link = {.delay_us_min = 5 * ms, .delay_us_max = 5 * ms};
  SimCluster cluster(options);
  const std::string job = begin(cluster);
  REQUIRE(cluster.run_until_commit(job, 40));
  const auto status = cluster.ask("status", {{"job", job}, {"plan", true}});
  REQUIRE(status);
  REQUIRE(status->body.at("measured").size() == 6);
  for (const auto& node : status->body.at("measured"))
    for (const auto& stage : node.at("stages")) {
      // Drawn from half to twice 6 and 12 ms.
      CHECK(stage.at("forward_us").get<double>() == Approx(7'500).epsilon(0.2));
      CHECK(stage.at("backward_us").get<double>() == Approx(15'000).epsilon(0.2));
    }
  REQUIRE(status->body.at("links").size() >= 6);
  for (const auto& link : status->body.at("links")) CHECK(link.at("latency_us") == 5 * ms);
}

TEST_CASE("Watching: a loss right after the scheduler's restart is planned by what was measured before") {
  SimOptions options;
  options.seed = GENERATE(range(1, 5));
  SimCluster cluster(options);
  const std::string job = begin(cluster);
  REQUIRE(cluster.run_until_commit(job, 10));
  const auto plan = [&] { return std::move(scheduler::parse_plan(cluster.job(job)->plan)).value(); };
  const scheduler::Plan before = plan();
  cluster.restart_scheduler(300 * ms);
  // No step ends after the loss, so that nobody tells anything new.
  cluster.kill(cluster.node_of(before.replicas(1).front()));
  REQUIRE(cluster.run_until([&] { return plan().epoch > before.epoch; }, 20 * second));
  CHECK(plan().stages_of.size() == 5);
  CHECK(plan().phase(11).predicted_step_us > before.phase(11).predicted_step_us / 2);
}

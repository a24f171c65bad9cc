// Mirrors of every few commits in a swarm: who keeps them, and stages that are put back out of them.
#include <catch2/catch.hpp>

#include "net/clock.h"
#include "tests/sim/checker.h"
#include "tests/sim/scripted.h"

using namespace sidestep;
using namespace sidestep::sim;
using net::ms;
using net::second;
using scheduler::Plan;

namespace {

constexpr std::uint64_t every = 4;

JobShape mirrored_job() {
  JobShape shape;
  shape.steps = 60;
  shape.stages = 5;
  shape.microbatches = 8;
  shape.validation_every = 7;
  shape.recovery = "mirror";
  shape.mirror_every = every;
  return shape;
}

net::NodeKey keeper_of(const SimCluster& cluster, const std::string& job, std::uint32_t stage) {
  const auto keeper = plan_of(cluster, job).keeper_of(stage);
  REQUIRE(keeper);
  return *keeper;
}

// Until the scheduler knows of a mirror of the stage that is of this commit or a later one.
std::uint64_t require_mirror(SimCluster& cluster, const std::string& job, std::uint32_t stage,
                             std::uint64_t at_least = 1) {
  require_soon(cluster, 60 * second, [&] {
    const auto& mirrors = cluster.job(job)->mirrors;
    return mirrors.contains(stage) && mirrors.at(stage).commit >= at_least;
  });
  return cluster.job(job)->mirrors.at(stage).commit;
}

void require_back(SimCluster& cluster, const std::string& job, std::uint32_t stage) {
  require_soon(cluster, 60 * second, [&] { return plan_of(cluster, job).is_out(stage); });
  require_soon(cluster, 60 * second, [&] { return plan_of(cluster, job).stages_out.empty(); });
}

}  // namespace

TEST_CASE("Mirror: a lost stage is put back as it was after the last commit that was mirrored") {
  const auto stage = GENERATE(1u, 4u);
  const std::size_t later = GENERATE(0u, 1u);  // whether somebody stands by
  nlohmann::json json = job_json(mirrored_job());
  json["recovery"]["moments"] = GENERATE("average", "fresh");
  SimOptions options;
  options.nodes = 6 + later;
  options.nodes_later = later;
  SimCluster cluster(options);
  const std::string job = begin(cluster, json, 6);
  CHECK_FALSE(plan_of(cluster, job).holds(keeper_of(cluster, job, stage), stage));
  const std::uint64_t mirrored = require_mirror(cluster, job, stage, 2 * every);
  CHECK(mirrored % every == 0);
  kill_all_of(cluster, job, stage);
  const std::uint64_t before = *cluster.job(job)->commit;
  if (later > 0) cluster.start_node(6);
  require_back(cluster, job, stage);
  require_done(cluster, job, options);
  const auto found = recoveries(cluster, job);
  REQUIRE(found.size() == 1);
  CHECK(found[0].is_own());
  CHECK(found[0].policy == "mirror");
  CHECK(found[0].commit >= mirrored);
  CHECK(found[0].commit <= before + 1);
  CHECK(found[0].commit % every == 0);
  CHECK(found[0].moments == (json["recovery"]["moments"] == "average"));
  CHECK(found[0].learning_rate_scale == 1);
}

TEST_CASE(
    "Mirror: a stage lost before the first, or together with its keeper, is rebuilt out of neighbours") {
  const bool early = GENERATE(true, false);
  JobShape shape = mirrored_job();
  shape.mirror_every = early ? 50 : every;
  SimOptions options;
  options.nodes = 8;
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(shape), 8);
  if (!early) {
    require_mirror(cluster, job, 2);
    cluster.kill(cluster.node_of(keeper_of(cluster, job, 2)));
  }
  kill_all_of(cluster, job, 2);
  require_back(cluster, job, 2);
  require_done(cluster, job, options);
  for (const auto& recovery : recoveries(cluster, job))
    if (recovery.stage == 2) CHECK_FALSE(recovery.is_own());
}

TEST_CASE("Mirror: another node keeps those of one that is lost, and of one that leaves") {
  const bool leaves = GENERATE(true, false);
  SimOptions options;
  options.nodes = 8;
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(mirrored_job()), 8);
  require_mirror(cluster, job, 3);
  const net::NodeKey first = keeper_of(cluster, job, 3);
  if (leaves)
    CHECK(cluster.ask("drain", {{"node", first.hex()}})->code == Code::ok);
  else
    cluster.kill(cluster.node_of(first));
  require_soon(cluster, 60 * second, [&] {
    const auto keeper = plan_of(cluster, job).keeper_of(3);
    return keeper && *keeper != first;
  });
  require_soon(cluster, 60 * second, [&] {
    const auto& mirrors = cluster.job(job)->mirrors;
    return mirrors.contains(3) && mirrors.at(3).node != first;
  });
  kill_all_of(cluster, job, 3);
  require_done(cluster, job, options);
  bool own = false;
  for (const auto& recovery : recoveries(cluster, job)) own |= recovery.stage == 3 && recovery.is_own();
  INFO(cluster.last_lines());
  CHECK(own);
}

TEST_CASE("Mirror: who keeps it, or the scheduler, may be lost while the stage is put back") {
  const bool keeper = GENERATE(true, false);
  SimOptions options;
  options.nodes = 9;
  options.link.delay_us_max = 150 * ms;  // so that it lasts
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(mirrored_job()), 9);
  require_mirror(cluster, job, 2);
  const net::NodeKey keeping = keeper_of(cluster, job, 2);
  kill_all_of(cluster, job, 2);
  require_soon(cluster, 60 * second, [&] { return !plan_of(cluster, job).learners_of(2).empty(); });
  CHECK(plan_of(cluster, job).mirrored == std::vector{2u});
  if (keeper)
    cluster.kill(cluster.node_of(keeping));
  else
    cluster.restart_scheduler(500 * ms);
  require_done(cluster, job, options);
  CHECK(plan_of(cluster, job).stages_out.empty());
  if (!keeper) {
    REQUIRE_FALSE(recoveries(cluster, job).empty());
    CHECK(recoveries(cluster, job)[0].is_own());
  }
}

TEST_CASE("Rebuild: a stage stays out for as many steps as the job says") {
  JobShape shape = mirrored_job();
  shape.recovery = GENERATE("checkfree", "mirror");
  nlohmann::json json = job_json(shape);
  constexpr std::uint64_t out_steps = 12;
  json["recovery"]["out_steps"] = out_steps;
  SimOptions options;
  options.nodes = 7;
  options.nodes_later = 1;
  SimCluster cluster(options);
  const std::string job = begin(cluster, json, 6);
  kill_all_of(cluster, job, 2);
  cluster.start_node(6);
  require_back(cluster, job, 2);
  require_done(cluster, job, options);
  std::uint64_t without = 0;
  for (const scheduler::RecordStep& step : cluster.record(job))
    without +=
        step.step > 0 && std::ranges::none_of(step.stages, [](const auto& one) { return one.stage == 2; });
  CHECK(without >= out_steps);
  const auto found = recoveries(cluster, job);
  REQUIRE(found.size() == 1);
}

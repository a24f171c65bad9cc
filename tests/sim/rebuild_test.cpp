// Stages whose last replica is lost: routes go around them, their neighbours rebuild them, they come back.
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

JobShape rebuilt_job() {
  JobShape shape;
  shape.steps = 60;
  shape.stages = 5;
  shape.microbatches = 8;
  shape.validation_every = 7;
  shape.recovery = "checkfree";
  return shape;
}

std::vector<std::uint32_t> sources(const scheduler::RecordRecovery& recovery) {
  std::vector<std::uint32_t> stages;
  for (const auto& source : recovery.sources) stages.push_back(source.stage);
  return stages;
}

// Until the node has told the scheduler that it does one of these.
void require_activity(SimCluster& cluster, std::size_t node, const std::vector<std::string>& activities) {
  for (int i = 0; i < 600; ++i) {
    cluster.run_for(100 * ms);
    const nlohmann::json nodes = cluster.ask("nodes", nlohmann::json::object())->body.at("nodes");
    for (const auto& entry : nodes)
      for (const std::string& activity : activities)
        if (entry.at("key") == cluster.key(node).hex() &&
            entry.at("activity").get<std::string>().find(activity) != std::string::npos)
          return;
  }
  FAIL(cluster.last_lines());
}

}  // namespace

TEST_CASE("Rebuild: routes go around a lost stage until its neighbours have rebuilt it") {
  const auto stage = GENERATE(1u, 2u, 4u);
  const std::size_t later = GENERATE(0u, 1u);  // whether somebody stands by
  INFO("stage " << stage << ", " << later << " standing by");
  SimOptions options;
  options.nodes = 6 + later;
  options.nodes_later = later;
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(rebuilt_job()), 6);
  kill_all_of(cluster, job, stage);
  if (later > 0) cluster.start_node(6);
  require_soon(cluster, 60 * second, [&] { return plan_of(cluster, job).is_out(stage); });
  const std::uint64_t before = *cluster.job(job)->commit;
  require_soon(cluster, 60 * second, [&] { return plan_of(cluster, job).stages_out.empty(); });
  require_done(cluster, job, options);
  const auto rebuilt = recoveries(cluster, job);
  REQUIRE(rebuilt.size() == 1);
  CHECK(rebuilt[0].stage == stage);
  CHECK(rebuilt[0].commit > before);
  CHECK(rebuilt[0].learning_rate_scale == 1.1);
  CHECK(sources(rebuilt[0]) == (stage == 4 ? std::vector{3u} : std::vector{stage - 1, stage + 1}));
}

TEST_CASE("Rebuild: where the rules of routes leave no way around, the next best is taken") {
  nlohmann::json json = job_json(rebuilt_job());
  const auto stage = GENERATE(1u, 2u, 3u);
  if (GENERATE(true, false)) {
    json["pipeline"]["skip_ratio"] = 0.4;
    json["pipeline"]["max_skip"] = 2;
  } else {
    json["pipeline"]["skip_ratio"] = 0.2;
    json["pipeline"]["visit_share"] = {1, 1, 1, 1, 0};
  }
  INFO(json["pipeline"].dump() << " without stage " << stage);
  SimOptions options;
  SimCluster cluster(options);
  const std::string job = begin(cluster, json, 6);
  kill_all_of(cluster, job, stage);
  require_soon(cluster, 60 * second, [&] { return plan_of(cluster, job).is_out(stage); });
  require_soon(cluster, 60 * second, [&] { return plan_of(cluster, job).stages_out.empty(); });
  require_done(cluster, job, options);
}

TEST_CASE("Rebuild: of several lost stages each is rebuilt out of the nearest that are left") {
  const auto lost = GENERATE(std::vector{1u, 3u}, std::vector{2u, 3u}, std::vector{1u, 2u, 3u, 4u});
  SimOptions options;
  options.nodes = 8;
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(rebuilt_job()), 8);
  const Plan plan = plan_of(cluster, job);
  for (const std::uint32_t stage : lost)
    for (const net::NodeKey& key : plan.replicas(stage))
      if (cluster.alive(cluster.node_of(key))) cluster.kill(cluster.node_of(key));
  require_done(cluster, job, options);
  std::set<std::uint32_t> stages;
  for (const auto& recovery : recoveries(cluster, job)) stages.insert(recovery.stage);
  INFO(cluster.last_lines());
  CHECK(stages == std::set<std::uint32_t>(lost.begin(), lost.end()));
  CHECK(cluster.last_lines().find("cannot be had") == std::string::npos);  // each at the first attempt
}

TEST_CASE("Rebuild: the node that rebuilds, or one that it rebuilds from, may be lost meanwhile") {
  const bool host = GENERATE(true, false);
  SimOptions options;
  options.nodes = 8;
  options.link.delay_us_max = 150 * ms;  // so that it lasts
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(rebuilt_job()), 8);
  kill_all_of(cluster, job, 2);
  require_soon(cluster, 60 * second, [&] { return !plan_of(cluster, job).learners_of(2).empty(); });
  if (host)
    cluster.kill(cluster.node_of(plan_of(cluster, job).learners_of(2).front()));
  else
    kill_all_of(cluster, job, 3);
  require_done(cluster, job, options);
  CHECK(plan_of(cluster, job).stages_out.empty());
}

TEST_CASE(
    "Rebuild: who stands by takes a lost stage, also when another is lost while it rebuilds the first") {
  SimOptions options;
  options.nodes = 6;
  options.nodes_later = 1;
  options.link.delay_us_max = 150 * ms;  // so that it lasts
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(rebuilt_job()), 5);
  kill_all_of(cluster, job, 2);
  cluster.start_node(5);
  const auto rebuilds = [&] { return plan_of(cluster, job).learns(cluster.key(5), 2); };
  require_soon(cluster, 60 * second, rebuilds);
  kill_all_of(cluster, job, 4);
  require_soon(cluster, 60 * second, [&] { return plan_of(cluster, job).stages_out.empty(); });
  CHECK_FALSE(plan_of(cluster, job).stages(cluster.key(5)).empty());
  require_done(cluster, job, options);
}

TEST_CASE("Rebuild: a lesson goes on while a node is lost that it does not need") {
  const bool rebuilding = GENERATE(true, false);
  SimOptions options;
  options.nodes = 9;
  options.nodes_later = 1;
  options.link.delay_us_max = 150 * ms;  // so that it lasts
  SimCluster cluster(options);
  nlohmann::json json = job_json(rebuilt_job());
  json["recovery"]["origins"] = 1;
  const std::string job = begin(cluster, json, 8);
  // What is learned, or rebuilt out of stages 0 and 2, does not need stage 4.
  const std::size_t newcomer = 8;
  if (rebuilding) kill_all_of(cluster, job, 1);
  cluster.start_node(newcomer);
  const auto lesson = [&] { return plan_of(cluster, job).lessons(cluster.key(newcomer)); };
  require_soon(cluster, 60 * second, [&] { return !lesson().empty(); });
  const std::vector<std::uint32_t> begun = lesson();
  if (rebuilding) REQUIRE(begun == std::vector{1u});
  // It gets offers, and cannot ask for what is offered before the loss is seen.
  for (std::size_t node = 0; node < newcomer; ++node) cluster.cut_one_way(newcomer, node);
  require_activity(cluster, newcomer, {"pulls stage", "rebuilds stage"});
  const std::uint32_t other = begun[0] == 4 ? 2 : 4;
  const net::NodeKey victim = plan_of(cluster, job).replicas(other).front();
  const std::uint64_t epoch = plan_of(cluster, job).epoch;
  cluster.kill(cluster.node_of(victim));
  require_soon(cluster, 60 * second, [&] { return plan_of(cluster, job).epoch > epoch; });
  for (std::size_t node = 0; node < newcomer; ++node) cluster.heal(newcomer, node);
  const Plan without = cluster.plans(job).upper_bound(epoch)->second;
  CHECK_FALSE(without.stages_of.contains(victim));
  INFO(cluster.last_lines());
  CHECK(without.lessons(cluster.key(newcomer)) == begun);
  require_done(cluster, job, options);
  CHECK(plan_of(cluster, job).stages_out.empty());
}

TEST_CASE("Rebuild: the scheduler restarts while a stage is out, and takes it up where it was") {
  SimOptions options;
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(rebuilt_job()), 6);
  kill_all_of(cluster, job, 3);
  const bool learning = GENERATE(false, true);
  require_soon(cluster, 60 * second, [&] {
    const Plan plan = plan_of(cluster, job);
    return plan.is_out(3) && plan.learners.empty() != learning;
  });
  cluster.restart_scheduler(500 * ms);
  require_done(cluster, job, options);
  CHECK(plan_of(cluster, job).stages_out.empty());
}

TEST_CASE("Rebuild: a stage without layers is no source") {
  nlohmann::json json = job_json(rebuilt_job());
  json["pipeline"]["stage_0_layers"] = false;
  json["model"]["num_hidden_layers"] = 8;
  SimOptions options;
  SimCluster cluster(options);
  const std::string job = begin(cluster, json, 6);
  kill_all_of(cluster, job, 1);
  require_done(cluster, job, options);
  REQUIRE(recoveries(cluster, job).size() == 1);
  CHECK(sources(recoveries(cluster, job)[0]) == std::vector{2u});
}

TEST_CASE("Rebuild: a stage may be lost before the first commit") {
  SimOptions options;
  options.link.delay_us_max = 50 * ms;
  SimCluster cluster(options);
  cluster.start();
  REQUIRE(cluster.run_until_joined(6));
  const std::string job = cluster.submit(job_json(rebuilt_job()));
  require_soon(cluster, 60 * second, [&] { return !cluster.job(job)->plan.is_null(); });
  REQUIRE_FALSE(cluster.job(job)->commit);
  kill_all_of(cluster, job, 2);
  require_done(cluster, job, options);
}

TEST_CASE("Rebuild: a node rebuilds a stage out of those that it holds itself") {
  JobShape shape = rebuilt_job();
  shape.stages = 2;
  SimOptions options;
  options.nodes = 2;
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(shape), 2);
  kill_all_of(cluster, job, 1);
  require_done(cluster, job, options);
  REQUIRE(recoveries(cluster, job).size() == 1);
  const auto rebuilt = recoveries(cluster, job)[0];
  CHECK(sources(rebuilt) == std::vector{0u});
  CHECK(plan_of(cluster, job).stages(rebuilt.node) == std::vector{0u, 1u});
}

TEST_CASE("Rebuild: a stage that is rebuilt is lost again, before or after others have learned it") {
  SimOptions options;
  options.nodes = 7;
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(rebuilt_job()), 7);
  for (int time = 0; time < 2; ++time) {
    kill_all_of(cluster, job, 2);
    require_soon(cluster, 60 * second, [&] { return plan_of(cluster, job).is_out(2); });
    require_soon(cluster, 60 * second, [&] { return plan_of(cluster, job).stages_out.empty(); });
  }
  require_done(cluster, job, options);
}

TEST_CASE("Rebuild: every way to weigh the neighbours replays") {
  JobShape shape = rebuilt_job();
  nlohmann::json json = job_json(shape);
  json["recovery"]["weights"] = GENERATE("uniform", "copy", "random");
  json["recovery"]["moments"] = GENERATE("average", "fresh");
  SimOptions options;
  SimCluster cluster(options);
  const std::string job = begin(cluster, json, 6);
  kill_all_of(cluster, job, 2);
  require_done(cluster, job, options);
  REQUIRE(recoveries(cluster, job).size() == 1);
  const std::size_t expected = json["recovery"]["weights"] == "random" ? 0
                               : json["recovery"]["weights"] == "copy" ? 1
                                                                       : 2;
  CHECK(recoveries(cluster, job)[0].sources.size() == expected);
}

TEST_CASE("Rebuild: stage 0 has a second holder from the beginning, and a third after the loss of either") {
  SimOptions options;
  options.nodes = 5 + GENERATE(0u, 1u, 3u);
  options.nodes_later = GENERATE(0u, 1u);
  options.nodes += options.nodes_later;
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(rebuilt_job()), options.nodes - options.nodes_later);
  for (int time = 0; time < 2; ++time) {
    const Plan plan = plan_of(cluster, job);
    REQUIRE(plan.replicas(0).size() >= 2);
    cluster.kill(cluster.node_of(plan.replicas(0)[time == 0 ? 0 : plan.replicas(0).size() - 1]));
    if (time == 0 && options.nodes_later > 0) cluster.start_node(options.nodes - 1);
    require_soon(cluster, 60 * second, [&] { return plan_of(cluster, job).epoch > plan.epoch; });
    CHECK_FALSE(plan_of(cluster, job).is_out(0));
    require_soon(cluster, 60 * second, [&] {
      const Plan now = plan_of(cluster, job);
      return now.stages_out.empty() && now.replicas(0).size() >= 2;
    });
  }
  require_done(cluster, job, options);
}

TEST_CASE("Rebuild: with checkfree+ a stage of a pair is rebuilt as a copy of its twin") {
  JobShape shape = rebuilt_job();
  shape.recovery = "checkfree+";
  shape.max_swaps = 2;
  const std::uint32_t lost = GENERATE(1u, 4u), twin = lost == 1 ? 2 : 3;
  SimOptions options;
  options.nodes = 7;
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(shape), 7);
  // Both pairs are passed in both orders.
  const Plan plan = plan_of(cluster, job);
  for (const std::uint32_t low : {1u, 3u}) {
    std::size_t in_order = 0, swapped = 0;
    for (const auto& route : plan.phases[0].routes) {
      std::vector<std::uint32_t> stages;
      for (const net::Hop& hop : route.hops) stages.push_back(hop.stage);
      ++(std::ranges::find(stages, low) < std::ranges::find(stages, low + 1) ? in_order : swapped);
    }
    CHECK(in_order >= 3);
    CHECK(swapped >= 3);
  }
  kill_all_of(cluster, job, lost);
  require_done(cluster, job, options);
  REQUIRE(recoveries(cluster, job).size() == 1);
  CHECK(sources(recoveries(cluster, job)[0]) == std::vector{twin});
  CHECK(plan_of(cluster, job).stages_out.empty());
}

TEST_CASE("Rebuild: the losses that a job's failures script happen, at their steps") {
  nlohmann::json json = job_json(rebuilt_job());
  json["failures"] = {{"list", {{{"step", 8}, {"stages", {2}}}, {{"step", 30}, {"stages", {1, 4}}}}}};
  SimOptions options;
  options.nodes = 9;
  SimCluster cluster(options);
  const std::string job = begin(cluster, json, 9);
  require_done(cluster, job, options);
  std::map<std::uint32_t, std::uint64_t> commits;  // by stage: whose state it was rebuilt from
  for (const auto& one : recoveries(cluster, job)) commits[one.stage] = one.commit;
  REQUIRE(commits.size() == 3);
  // They are told at the commit before; until they are gone, and seen to be, a step or two may pass.
  CHECK((commits[2] >= 7 && commits[2] < 20));
  CHECK((commits[1] >= 29 && commits[1] < 45));
  CHECK((commits[4] >= 29 && commits[4] < 45));
}

TEST_CASE("Rebuild: stage 0 has as many holders as the job wants, where nodes have the memory") {
  JobShape shape = rebuilt_job();
  shape.recovery = GENERATE("checkfree", "mirror");
  nlohmann::json json = job_json(shape);
  json["recovery"]["origins"] = GENERATE(1, 3);
  SimOptions options;
  options.nodes = 5;
  SimCluster cluster(options);
  const std::string job = begin(cluster, json, 5);
  const Plan plan = plan_of(cluster, job);
  const std::size_t mirrored = shape.recovery == "mirror" ? 2 : 1;
  CHECK(plan.replicas(0).size() == std::max(json["recovery"]["origins"].get<std::size_t>(), mirrored));
  for (std::uint32_t stage = 1; stage < 5; ++stage) CHECK(plan.replicas(stage).size() == mirrored);
  require_done(cluster, job, options);
}

TEST_CASE("Rebuild: without an origin the job ends and says so") {
  SimOptions options;
  SimCluster cluster(options);
  const std::string job = begin(cluster, job_json(rebuilt_job()), 6);
  kill_all_of(cluster, job, 0);
  REQUIRE(cluster.run_until_ended(job, 60 * second));
  CHECK(cluster.job(job)->state == JobState::failed);
  CHECK(cluster.job(job)->reason.find("stage 0 has no replica left") != std::string::npos);
}

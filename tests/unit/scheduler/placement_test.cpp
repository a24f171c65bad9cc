#include "scheduler/placement.h"

#include <rapidcheck.h>
#include <rapidcheck/catch.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "scheduler/memory.h"
#include "scheduler/placement_instance.h"
#include "tests/unit/scheduler/swarm.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;

namespace {

constexpr std::uint64_t gibibyte = 1u << 30;

JobSpec job_of(std::int64_t stages, std::int64_t microbatches) {
  JobSpec job = parse_job(job_json(), "job.json").value();
  job.pipeline.stages = stages;
  job.model.num_hidden_layers = 2 * stages;
  job.pipeline.microbatches_per_step = microbatches;
  return job;
}

PlacementNode node(int number, std::int64_t layer_us = 100, bool has_data = true) {
  return {key(number),
          "n" + std::to_string(number),
          "",
          has_data,
          has_data ? "" : "no such file",
          gibibyte,
          0,
          layer_us,
          0,
          layer_us};
}

std::string placement_refusal(const PlacementRequest& request) {
  const Result<Plan> plan = place(request);
  return plan.ok() ? "accepted" : plan.status().message();
}

// What the stage takes with so many slots; without, with one.
std::uint64_t bytes_of(const JobSpec& job, std::int64_t stage, std::uint64_t slots = 1,
                       std::uint64_t replicas = 1) {
  MemoryNeed need = memory_need(job, stage, replicas);
  need.slots = slots;
  return need.total();
}

std::size_t visits(const Plan& plan, int number, std::uint32_t stage) {
  return plan.visits(key(number), stage, 1).size();
}

}  // namespace

TEST_CASE("Placement: six equal nodes and four stages give stage 0 and one other two replicas") {
  // The head makes stage 0 the slowest; the others are equally slow.
  const Plan plan = place({1, job_of(4, 8), {node(1), node(2), node(3), node(4), node(5), node(6)}}).value();
  CHECK(plan.replicas(0).size() == 2);
  CHECK(plan.replicas(1).size() + plan.replicas(2).size() + plan.replicas(3).size() == 4);
  CHECK(plan.epoch == 1);
  CHECK(plan.phases[0].predicted_step_us > 0);
  for (const auto& [holder, stages] : plan.stages_of)
    CHECK(plan.visits(holder, stages[0], 1).size() == 8 / plan.replicas(stages[0]).size());
}

TEST_CASE("Placement: a node three times as fast gets three times the microbatches") {
  const Plan plan = place({1, job_of(1, 8), {node(1, 300), node(2, 100)}}).value();
  CHECK(visits(plan, 1, 0) == 2);
  CHECK(visits(plan, 2, 0) == 6);
}

TEST_CASE("Placement: two fast and two slow nodes share a step as they are fast") {
  const PlacementRequest request{
      1, job_of(1, 24), {node(1, 10'000), node(2, 20'000), node(3, 10'000), node(4, 20'000)}};
  const Plan plan = place(request).value();
  CHECK(visits(plan, 1, 0) == 8);
  CHECK(visits(plan, 2, 0) == 4);
  CHECK(visits(plan, 3, 0) == 8);
  CHECK(visits(plan, 4, 0) == 4);
  CHECK(place(request).value() == plan);
}

TEST_CASE("Placement: with two stages the fast nodes compute twice as much as the slow ones") {
  // Without a head the stages are alike, so each gets a fast and a slow node.
  PlacementRequest request{
      1, job_of(2, 12), {node(1, 10'000), node(2, 20'000), node(3, 10'000), node(4, 20'000)}};
  for (PlacementNode& one : request.nodes) one.head_us = 0;
  request.work = 200'000;  // a fortieth of what the service spends
  const Plan plan = place(request).value();
  for (const std::uint32_t stage : {0u, 1u}) {
    CHECK(plan.replicas(stage).size() == 2);
    CHECK(visits(plan, 1, stage) + visits(plan, 3, stage) == 8);
    CHECK(visits(plan, 2, stage) + visits(plan, 4, stage) == 4);
  }
}

TEST_CASE("Placement: a node that would only slow a step is left out") {
  // With one microbatch it would take as long as the other with all of them a hundred times.
  const Plan plan = place({1, job_of(1, 8), {node(1, 100'000), node(2, 100)}}).value();
  CHECK_FALSE(plan.stages_of.contains(key(1)));
  CHECK(visits(plan, 2, 0) == 8);
}

TEST_CASE("Placement: the prediction is that of the cost model") {
  // Alone: six microbatches of two layers and a head each, one after the other; 3 x 100 us each.
  CHECK(place({1, job_of(1, 6), {node(1)}}).value().phases[0].predicted_step_us == 6 * 300);
}

TEST_CASE("Placement: a third of a layer's time is its forward, unless that was measured") {
  const JobSpec job = job_of(1, 1);
  PlacementNode one = node(1, 900);
  const Instance assumed = placement_instance(job, 0, {&one}, {});
  CHECK(assumed.nodes[0].forward_us[0] == 2 * 300);
  CHECK(assumed.nodes[0].backward_us[0] == 2 * 600);
  one.layer_forward_us = 400;
  const Instance measured = placement_instance(job, 0, {&one}, {});
  CHECK(measured.nodes[0].forward_us[0] == 2 * 400);
  CHECK(measured.nodes[0].backward_us[0] == 2 * 500);
}

TEST_CASE("Placement: the seed of a search is the job's, its work the request's") {
  PlacementRequest request{1, job_of(4, 16), {}};
  for (int i = 1; i <= 13; ++i) request.nodes.push_back(node(i, 1000 + 173 * i));
  for (const std::uint64_t work : {0u, 1'000u, 50'000u}) {
    request.work = work;
    for (const std::uint64_t seed : {0u, 7u}) {
      request.job.seed = seed;
      CHECK(place(request).value() == place(request).value());
    }
  }
}

TEST_CASE("Placement: a search that nobody waits for ends at once, with a plan") {
  PlacementRequest request{1, job_of(4, 16), {}};
  for (int i = 1; i <= 13; ++i) request.nodes.push_back(node(i, 1000 + 173 * i));
  request.work = std::uint64_t{1} << 60;
  PlanMachine machine = plain_machine();
  int questions = 0;
  machine.stop = [&] { return ++questions > 3; };
  CHECK(place(request, machine).value().phases[0].routes.size() == 16);
}

TEST_CASE("Placement: a node with room for fewer slots gets those, one without any gets no stage") {
  JobSpec job = job_of(2, 4);
  job.pipeline.slots = 4;
  PlacementRequest request{1, job, {node(1), node(2, 100, false)}};
  request.nodes[1].memory_bytes = bytes_of(job, 1, 2);
  CHECK(place(request).value().slots_of == std::map<net::NodeKey, std::uint32_t>{{key(1), 4}, {key(2), 2}});
  request.nodes[1].memory_bytes = bytes_of(job, 1, 1);
  CHECK(place(request).value().slots_of.at(key(2)) == 1);
  request.nodes[1].memory_bytes -= 1;
  CHECK_THAT(placement_refusal(request), Catch::StartsWith("the stages do not fit: "));
  request.nodes[1].memory_bytes = PlacementNode::unknown_bytes;
  CHECK(place(request).value().slots_of.at(key(2)) == 4);
  // What the daemon itself takes is not there for stages.
  request.nodes[1].memory_bytes = bytes_of(job, 1, 2) + 1000;
  request.nodes[1].daemon_bytes = 1001;
  CHECK(place(request).value().slots_of.at(key(2)) == 1);
  request.nodes[1].daemon_bytes = PlacementNode::unknown_bytes;
  CHECK_THAT(placement_refusal(request), Catch::StartsWith("the stages do not fit: "));
}

TEST_CASE("Placement: where averages fit on some nodes only, the others hold stages alone") {
  // Stages 1 and 2 alone on the small nodes; stage 0 is averaged.
  constexpr std::int64_t us = 10'000;  // so that averaging pays
  PlacementRequest request{
      1, job_of(3, 8), {node(1, us), node(2, us), node(3, us / 2, false), node(4, us / 2, false)}};
  for (const int small : {2, 3}) request.nodes[small].memory_bytes = bytes_of(request.job, 1);
  REQUIRE(bytes_of(request.job, 1) < bytes_of(request.job, 1, 1, 2));
  const Plan plan = place(request).value();
  CHECK(plan.replicas(0) == std::vector{key(1), key(2)});
  CHECK(plan.stages_of.size() == 4);
}

TEST_CASE("Placement: replicas take turns instead of one after the other") {
  const Plan plan = place({1, job_of(1, 4), {node(1), node(2)}}).value();
  CHECK(plan.visits(key(1), 0, 1) == std::vector<std::uint32_t>{0, 2});
  CHECK(plan.visits(key(2), 0, 1) == std::vector<std::uint32_t>{1, 3});
}

TEST_CASE("Placement: a stage has no more replicas than microbatches") {
  const Plan plan = place({1, job_of(1, 2), {node(1), node(2), node(3)}}).value();
  CHECK(plan.stages_of.size() == 2);
}

TEST_CASE("Placement: only nodes with the data hold stage 0, however slow") {
  const Plan plan =
      place({1, job_of(2, 4), {node(1, 1, false), node(2, 1, false), node(3, 1000, true)}}).value();
  CHECK(plan.replicas(0) == std::vector{key(3)});
  CHECK(plan.replicas(1) == std::vector{key(1), key(2)});
}

TEST_CASE("Placement: evaluations are routed when the job validates") {
  JobSpec job = job_of(2, 4);
  job.validation = {10, 3};
  CHECK(place({1, job, {node(1), node(2)}}).value().evaluations.size() == 3);
}

TEST_CASE("Placement: a refusal says what is missing, node by node") {
  CHECK(placement_refusal({1, job_of(4, 8), {node(1), node(2), node(3)}}) ==
        "4 stages need 4 nodes, 3 are alive");
  PlacementNode broken = node(2);
  broken.problem = "wants cuda";
  CHECK(placement_refusal({1, job_of(2, 8), {node(1), broken}}) ==
        "2 stages need 2 nodes, 2 are alive, 1 can take part; n2 (0200): wants cuda");
  CHECK(placement_refusal({1, job_of(2, 8), {node(1, 1, false), node(2, 1, false)}}) ==
        "stage 0 needs a node with data/text.txt, none has it: n1 (0100): no such file; n2 (0200): no such "
        "file");
  PlacementNode small = node(2);
  small.memory_bytes = 3 << 20;
  JobSpec job = job_of(2, 8);
  job.model.hidden_size = job.model.intermediate_size = 256;
  small.daemon_bytes = 1 << 20;
  CHECK(placement_refusal({1, job, {node(1), small}}) ==
        "the stages do not fit: stage 0, on a node with data/text.txt, needs 13 MiB (weights 3, gradients 3, "
        "optimizer 5, averaging 3, activations 3 x 1, work 1, messages 1); stage 1 needs 11 MiB (weights 2, "
        "gradients 2, optimizer 4, averaging 2, activations 3 x 1, work 1, messages 1); n1 (0100), with the "
        "data, has 1024 MiB, n2 (0200), with the data, has 3 MiB, of which its daemon takes 1 MiB");
}

TEST_CASE("Placement: any nodes give a whole plan or a refusal, always the same") {
  rc::prop("place", [] {
    PlacementRequest request{
        *rc::gen::inRange<std::uint64_t>(1, 9),
        job_of(*rc::gen::inRange<std::int64_t>(1, 6), *rc::gen::inRange<std::int64_t>(1, 20)),
        {}};
    const std::uint64_t small = bytes_of(request.job, 1 % request.job.pipeline.stages);
    const std::uint64_t wide = bytes_of(request.job, 1 % request.job.pipeline.stages, 2, 2);
    const int count = *rc::gen::inRange(0, 12);
    for (int i = 1; i <= count; ++i) {
      request.nodes.push_back(node(i, *rc::gen::inRange<std::int64_t>(0, 1000), *rc::gen::arbitrary<bool>()));
      request.nodes.back().memory_bytes = *rc::gen::element(gibibyte, wide, small, small - 1);
    }
    const Result<Plan> result = place(request);
    if (!result.ok()) {
      // Brute force over who could be the origin: a refusal is right only if none leaves enough for the rest.
      for (std::size_t origin = 0; origin < request.nodes.size(); ++origin) {
        const PlacementNode& first = request.nodes[origin];
        if (!first.has_data || first.memory_bytes < bytes_of(request.job, 0)) continue;
        std::int64_t others = 0;
        for (std::size_t i = 0; i < request.nodes.size(); ++i)
          others += i != origin && request.job.pipeline.stages > 1 &&
                    request.nodes[i].memory_bytes >= bytes_of(request.job, 1);
        RC_ASSERT(others < request.job.pipeline.stages - 1);
      }
      return;
    }
    const Plan& plan = result.value();
    RC_ASSERT(place(request).value() == plan);
    // parse_plan checks the shape of the routes.
    RC_ASSERT(parse_plan(to_json(plan)).value() == plan);
    RC_ASSERT(plan.stage_count() == request.job.pipeline.stages);
    RC_ASSERT(std::int64_t(plan.phases[0].routes.size()) == request.job.pipeline.microbatches_per_step);
    for (const PlannedRoute& route : plan.phases[0].routes)
      RC_ASSERT(std::int64_t(route.hops.size()) == request.job.pipeline.stages);
    for (const PlacementNode& one : request.nodes) {
      if (!plan.stages_of.contains(one.key)) continue;
      const std::uint32_t stage = plan.stages_of.at(one.key).front();
      const std::uint32_t slots = plan.slots_of.at(one.key);
      RC_ASSERT(slots >= 1 && slots <= request.job.pipeline.slots);
      RC_ASSERT(one.memory_bytes >= bytes_of(request.job, stage, slots, plan.replicas(stage).size()));
      RC_ASSERT(stage > 0 || one.has_data);
      RC_ASSERT(!plan.visits(one.key, stage, 1).empty());
    }
    for (const PlannedRoute& route : plan.phases[0].routes)
      for (std::size_t i = 0; i < route.hops.size(); ++i) RC_ASSERT(route.hops[i].stage == i);
  });
}

TEST_CASE("Placement: a stage gets another replica only where both have room for averages on the way") {
  PlacementRequest request{1, job_of(1, 8), {node(1), node(2)}};
  // With one slot, and as many slots as the job asks for.
  const std::uint64_t alone = bytes_of(request.job, 0);
  const std::uint64_t beside = bytes_of(request.job, 0, 1, 2);
  const std::uint64_t full = memory_need(request.job, 0, 2).total();
  REQUIRE(alone < beside);
  CHECK(place(request).value().replicas(0).size() == 2);
  for (const std::uint64_t room : {alone, beside - 1}) {
    request.nodes[0].memory_bytes = room;
    CHECK(place(request).value().replicas(0).size() == 1);
  }
  for (const std::uint64_t room : {beside, full}) {
    request.nodes[0].memory_bytes = room;
    CHECK(place(request).value().replicas(0).size() == 2);
  }
}

TEST_CASE(
    "Placement: memory can be checked before anybody was asked, and fewer nodes than stages say nothing") {
  const JobSpec job = job_of(2, 8);
  std::vector<PlacementNode> nodes{node(1)};
  nodes[0].memory_bytes = 1;
  CHECK(check_memory(job, nodes).ok());
  nodes.push_back(node(2));
  CHECK_THAT(check_memory(job, nodes).message(), Catch::StartsWith("the stages do not fit: stage 0"));
  nodes[0].memory_bytes = bytes_of(job, 1);
  CHECK(check_memory(job, nodes).ok());
}

TEST_CASE("Placement: a plan that comes with the job is taken as it is") {
  PlacementRequest request{3, job_of(2, 2), {node(1), node(2), node(3)}};
  request.job.pipeline.plan = nlohmann::json::parse(R"({
    "stage_of": {"n3": 0, "n1": 1, "n2": 1}, "slots_of": {"n3": 2, "n1": 1, "n2": 1},
    "paths": [{"microbatch": 1, "hops": ["n3", "n1"]}, {"microbatch": 0, "hops": ["n3", "n2"]}]})");
  const Plan plan = place(request).value();
  CHECK(plan.epoch == 3);
  CHECK(plan.stages_of ==
        std::map<net::NodeKey, std::vector<std::uint32_t>>{{key(1), {1}}, {key(2), {1}}, {key(3), {0}}});
  CHECK(plan.slots_of.at(key(3)) == 2);
  REQUIRE(plan.phases.size() == 1);
  REQUIRE(plan.phases[0].routes.size() == 2);
  CHECK(plan.phases[0].routes[0] == PlannedRoute{1, {{0, key(3)}, {1, key(1)}}});
  CHECK(plan.phases[0].routes[1] == PlannedRoute{0, {{0, key(3)}, {1, key(2)}}});
  CHECK(plan.phases[0].predicted_step_us > 0);
}

TEST_CASE("Placement: a plan that breaks the job's rules, or names nobody, is refused with the rule") {
  PlacementRequest request{1, job_of(2, 2), {node(1), node(2)}};
  nlohmann::json& plan = request.job.pipeline.plan;
  plan = nlohmann::json::parse(R"({
    "stage_of": {"n1": 0, "n2": 1},
    "paths": [{"microbatch": 0, "hops": ["n1", "n2"]}, {"microbatch": 1, "hops": ["n1"]}]})");
  CHECK_THAT(placement_refusal(request),
             Catch::Contains("pipeline.plan breaks the job's rules: stages_per_path: "
                             "microbatch 1 visits 1 stages, 2 needed"));
  plan["paths"][1]["hops"] = {"n1", "n7"};
  CHECK_THAT(placement_refusal(request), Catch::Contains("pipeline.plan: paths[1].hops[1]: no node \"n7\""));
  plan["paths"][1]["hops"] = {"n1", "n2"};
  CHECK(placement_refusal(request) == "accepted");
  request.nodes[1].nickname = "n1";
  CHECK(placement_refusal(request) == "pipeline.plan: two nodes are called n1");
}

TEST_CASE(
    "Placement: stages have as many holders as the job's recovery wants, the last beside other stages") {
  JobSpec job = job_of(3, 8);
  job.recovery.policy = "checkfree";
  const std::vector<PlacementNode> three{node(1), node(2, 100, false), node(3)};
  const Plan plan = place({1, job, three}).value();
  // Node 2 does not have the data.
  CHECK(plan.replicas(0) == std::vector{key(1), key(3)});
  CHECK(plan.replicas(1).size() == 1);
  CHECK(plan.replicas(2).size() == 1);

  job.recovery.origins = 1;
  CHECK(place({1, job, three}).value().replicas(0).size() == 1);
  job.recovery.origins = 16;  // as far as there are nodes
  CHECK(place({1, job, three}).value().replicas(0).size() == 2);

  job.recovery = {};
  job.recovery.policy = "mirror";
  job.recovery.every = 1;
  const Plan mirrored = place({1, job, three}).value();
  for (std::uint32_t stage = 0; stage < 3; ++stage) CHECK(mirrored.replicas(stage).size() == 2);
  CHECK_FALSE(mirrored.holds(key(2), 0));
}

TEST_CASE("Placement: a second holder of stage 0 is one that has room for it beside its own, and is near") {
  JobSpec job = job_of(3, 8);
  job.recovery.policy = "checkfree";
  std::vector<PlacementNode> nodes{node(1, 10), node(2), node(3)};
  // Alike, but that one is far.
  for (const int far : {2, 3}) {
    std::vector<PlacementNode> apart = nodes;
    for (PlacementNode& from : apart)
      for (const PlacementNode& to : nodes) {
        const bool is_far = from.key == key(far) || to.key == key(far);
        if (!(from.key == to.key)) from.links.push_back({to.key, is_far ? 200'000 : 100, 1e9});
      }
    const Plan plan = place({1, job, apart}).value();
    INFO("far: " << far);
    CHECK(plan.replicas(0).size() == 2);
    CHECK_FALSE(plan.holds(key(far), 0));
  }
  // One has room for its own stage alone.
  for (PlacementNode& one : nodes) one.memory_bytes = bytes_of(job, 0, 1, 2) + bytes_of(job, 1, 1, 2);
  nodes[1].memory_bytes = bytes_of(job, 1, 2, 2);
  const Plan plan = place({1, job, nodes}).value();
  CHECK(plan.replicas(0).size() == 2);
  CHECK_FALSE(plan.holds(key(2), 0));
}

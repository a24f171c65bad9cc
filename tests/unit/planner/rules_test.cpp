#include "scheduler/planner/rules.h"

#include <catch2/catch.hpp>
#include <functional>

#include "scheduler/planner/instance_json.h"
#include "scheduler/planner/visit_share.h"
#include "tests/unit/planner/published.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;

namespace {

std::string text_of(const std::vector<BrokenRule>& broken) {
  std::string text;
  for (const BrokenRule& rule : broken) text += (text.empty() ? "" : "\n") + rule.rule + ": " + rule.text;
  return text;
}

// What is broken when the published plan or its instance is edited; visits are free, or every edit would
// break their limits too.
std::string broken_by(const std::function<void(Instance&, PathPlan&)>& edit) {
  Instance instance = published20();
  free_visits(instance);
  PathPlan plan = published_plan();
  edit(instance, plan);
  return text_of(broken_rules(instance, plan));
}

std::string rules_refusal(const std::function<void(Instance&)>& edit) {
  Instance instance = published20();
  edit(instance);
  return check_feasible(instance).message();
}

std::string refusal_fixed(const std::function<void(Instance&)>& edit) {
  return rules_refusal([&](Instance& instance) {
    instance.stage_of = published_plan().stage_of;
    edit(instance);
  });
}

}  // namespace

TEST_CASE("Rules: the plans published with SkipPipe break none") {
  const Instance instance = published20();
  for (std::size_t i = 0; i < 3; ++i) CHECK(text_of(broken_rules(instance, published_plan(i))) == "");
}

TEST_CASE("Rules: each that is broken is told by name") {
  // Microbatch 1 goes 3 (stage 0), 15 (1), 17 (5), 5 (4): one swap, one stage back.
  CHECK(broken_by([](Instance&, PathPlan& plan) { plan.paths[1].hops.pop_back(); }) ==
        "stages_per_path: microbatch 1 visits 3 stages, 4 needed");
  CHECK(broken_by([](Instance&, PathPlan& plan) { plan.paths[1].hops.clear(); }) ==
        "stages_per_path: microbatch 1 visits 0 stages, 4 needed\n"
        "microbatches_per_origin: node 3 starts 5 microbatches, 6 needed");
  CHECK(
      broken_by([](Instance&, PathPlan& plan) { std::swap(plan.paths[1].hops[0], plan.paths[1].hops[1]); }) ==
      "stage 0 first: microbatch 1 starts at stage 1\n"
      "microbatches_per_origin: node 3 starts 5 microbatches, 6 needed");
  CHECK(broken_by([](Instance&, PathPlan& plan) {
          plan.paths[1].hops[3] = {5, 2};
        }) == "each stage once: microbatch 1 visits stage 5 twice");
  CHECK(broken_by([](Instance& instance, PathPlan&) {
          instance.max_swaps = 0;
        }).starts_with("max_swaps: microbatch 1 has 1 swaps, at most 0 allowed\n"));
  CHECK(broken_by([](Instance&, PathPlan& plan) {
          plan.paths[1].hops[3] = {3, 12};
        }) == "max_swap_distance: microbatch 1 goes back from stage 5 to 3, at most 1 allowed");
  CHECK(broken_by([](Instance& instance, PathPlan&) {
          instance.max_skip = 3;
        }).starts_with("max_skip: microbatch 1 goes from stage 1 to 5, at most 3 further allowed\n"));
  CHECK(broken_by([](Instance&, PathPlan& plan) { plan.paths[1].hops[1].node = 5; }) ==
        "hops: microbatch 1 goes to node 5 for stage 1, which it does not hold");
  CHECK(broken_by([](Instance&, PathPlan& plan) { plan.paths[1].hops[1].node = 20; }) ==
        "hops: microbatch 1 goes to stage 1 at node number 20, which is not there\n"
        "microbatches_per_origin: node 3 starts 5 microbatches, 6 needed");
  CHECK(broken_by([](Instance& instance, PathPlan&) {
          instance.nodes[15].draining = true;
        }).starts_with("draining: microbatch 1 visits node 15, which is draining\n"));
  CHECK(broken_by([](Instance& instance, PathPlan&) { instance.nodes[3].can_be_origin = false; }) ==
        "can_be_origin: node 3 holds stage 0 and cannot be an origin");
  // Back from the last hop to the origin counts, and so does the way of the gradients.
  CHECK(broken_by([](Instance& instance, PathPlan&) {
          instance.transfer_us[5 * 20 + 3] = Instance::no_link;
        }).starts_with("transfer_s: microbatch 1 needs a link from node 5 to node 3\n"));
  CHECK(broken_by([](Instance& instance, PathPlan&) {
          instance.transfer_us[15 * 20 + 3] = Instance::no_link;
        }).starts_with("transfer_s: microbatch 1 needs a link from node 15 to node 3\n"));
}

TEST_CASE("Rules: placement, slots and memory") {
  CHECK(broken_by([](Instance& instance, PathPlan&) { instance.stage_sizes = {5, 3, 3, 4, 2, 3}; }) ==
        "stage_sizes: stage 3 is held by 3 nodes, 4 needed\n"
        "stage_sizes: stage 4 is held by 3 nodes, 2 needed");
  CHECK(broken_by([](Instance& instance, PathPlan& plan) {
          instance.stage_of = plan.stage_of;
          instance.stage_of[7] = {1, 3};
        }) == "stage_of: node 7 holds stage 4, the instance says stages 1, 3");
  CHECK(broken_by([](Instance& instance, PathPlan& plan) {
          instance.stage_sizes.clear();
          plan.stage_of[7] = {1, 4};
        }) == "max_stages: node 7 holds 2 stages, at most 1 allowed");
  CHECK(broken_by([](Instance& instance, PathPlan& plan) {
          instance.stage_sizes.clear();
          instance.stages = 7;
          instance.stage_out.push_back(0);
          instance.stage_memory_bytes.push_back(0);
          plan.stage_of[7] = {4, 7};
          free_visits(instance);
        }) ==
        "stages: node 7 holds stage 7 of 7\n"
        "max_stages: node 7 holds 2 stages, at most 1 allowed\n"
        "stage_of: no node holds stage 6");
  CHECK(broken_by([](Instance&, PathPlan& plan) {
          plan.slots[7] = 4;
          plan.slots[8] = 0;
        }) == "slots: node 7 has 4 slots, at most 3 allowed\nslots: node 8 has no slot");
  CHECK(broken_by([](Instance& instance, PathPlan&) {
          instance.stage_memory_bytes.assign(6, 100);
          instance.slot_memory_bytes.assign(6, 10);
          instance.nodes[7].memory_bytes = 125;
          instance.nodes[8].memory_bytes = 105;
        }) ==
        "slots: node 7 has 3 slots, at most 2 allowed\n"
        "memory_bytes: node 8 has no memory for stage 1 and a slot");
  CHECK(broken_by([](Instance&, PathPlan& plan) { plan.slots.pop_back(); }) ==
        "stage_of: the plan is for 20 nodes with 19 numbers of slots, there are 20");
}

TEST_CASE("Rules: microbatches are there once each, shared among origins") {
  CHECK(broken_by([](Instance&, PathPlan& plan) { plan.paths[5].microbatch = 30; }) ==
        "microbatches_per_origin: microbatch 30 is not one of the 30 of a step\n"
        "microbatches_per_origin: 1 of 30 microbatches have no route, microbatch 5 first");
  CHECK(broken_by([](Instance& instance, PathPlan& plan) {
          instance.microbatches_per_origin = 0;
          plan.paths[5].microbatch = 4;
        }) ==
        "microbatches_per_step: microbatch 4 is there twice\n"
        "microbatches_per_step: 1 of 30 microbatches have no route, microbatch 5 first");
  CHECK(broken_by([](Instance&, PathPlan& plan) {
          plan.paths[5].hops[0] = {0, 3};
        }) ==
        "microbatches_per_origin: node 0 starts 5 microbatches, 6 needed\n"
        "microbatches_per_origin: node 3 starts 7 microbatches, 6 needed");
}

TEST_CASE("Rules: visits, and stages that are out") {
  Instance instance = published20();
  instance.min_visits[1] = 19;
  instance.max_visits[2] = 17;
  CHECK(text_of(broken_rules(instance, published_plan())) ==
        "min_visits_per_stage: stage 1 is visited 18 times, at least 19 needed\n"
        "max_visits_per_stage: stage 2 is visited 18 times, at most 17 allowed");
  CHECK(broken_by([](Instance& edited, PathPlan& plan) {
          edited.stage_sizes.clear();
          edited.stage_out[3] = 1;
          plan.stage_of[12].clear();
          plan.stage_of[13].clear();
        })
            .starts_with("stages_out: node 16 holds stage 3, which is out\n"
                         "stages_out: microbatch 0 visits stage 3, which is out\n"
                         "hops: microbatch 0 goes to node 12 for stage 3, which it does not hold\n"));
}

TEST_CASE("Rules: pairs of CheckFree+ come in both orders") {
  // The plan has the pair (4, 5) swapped on the six routes like microbatch 1 and nowhere else; (1, 2) lie
  // together on microbatch 0 and those like it.
  const std::string text = broken_by([](Instance& instance, PathPlan&) { instance.min_swap_share = 0.2; });
  CHECK(text.find("min_swap_share: 0 microbatches visit stage 2 before 1, 6 needed") != std::string::npos);
  CHECK(text.find("visit stage 5 before 4") == std::string::npos);
  // Nothing is asked of a pair with a stage that is out.
  Instance instance = published20();
  instance.min_swap_share = 0.2;
  CHECK(swap_pairs(instance).size() == 2);
  instance.stage_out[4] = 1;
  CHECK(swap_pairs(instance).size() == 1);
}

TEST_CASE("Rules: the published instances can be planned") {
  for (const char* name : {"published20.json", "head20.json"}) {
    const Result<Instance> instance =
        load_instance(std::string(SIDESTEP_SOURCE_DIR) + "/configs/instances/" + name);
    INFO(instance.status().message());
    REQUIRE(instance.ok());
    CHECK(check_feasible(instance.value()).message() == "");
  }
  CHECK(refusal_fixed([](Instance&) {}) == "");
}

TEST_CASE("Rules: an impossible instance is refused with the sums") {
  CHECK(rules_refusal([](Instance& instance) {
          instance.nodes.resize(4);
          instance.transfer_us.assign(16, 5);
          instance.stage_sizes.clear();
        }) == "6 live stages need a node each, 4 nodes can hold one: add nodes, or raise max_stages");
  CHECK(rules_refusal([](Instance& instance) { instance.max_visits.assign(6, 17); }) ==
        "max_visits_per_stage allows 85 visits a step past stage 0, routes make 90: raise it by 5 in all");
  CHECK(
      rules_refusal([](Instance& instance) {
        instance.max_visits.assign(6, 30);
        instance.min_visits.assign(6, 20);
      }) ==
      "min_visits_per_stage asks for 100 visits a step past stage 0, routes make 90: lower it by 10 in all");
  CHECK(rules_refusal([](Instance& instance) {
          for (std::size_t n = 3; n < 20; ++n) instance.nodes[n].can_be_origin = false;
        }) == "stage 0 can be held by 3 nodes, stage_sizes asks for 5: add nodes that can be origins");
  CHECK(rules_refusal([](Instance& instance) {
          for (InstanceNode& node : instance.nodes) node.can_be_origin = false;
        }) == "stage 0 can take 0 visits a step, 30 are needed: add a node that can be an origin");
  CHECK(rules_refusal([](Instance& instance) {
          instance.stage_memory_bytes = {1, 1, 1, 100, 1, 1};
          instance.slot_memory_bytes.assign(6, 1);
          for (InstanceNode& node : instance.nodes) node.memory_bytes = 100;
        }) ==
        "stage 3 can take 0 visits a step, 18 are needed: add a node or slots (20 nodes without memory for "
        "it and a slot)");
  CHECK(rules_refusal([](Instance& instance) {
          instance.stage_sizes.clear();
          instance.transfer_us.assign(400, Instance::no_link);
        })
            .starts_with(
                "6 live stages need a node each, 0 nodes can hold one: add nodes, or raise max_stages\n"
                "stage 0 can take 0 visits a step, 30 are needed: add a node or slots (20 nodes without a "
                "link both ways)\n"));
}

TEST_CASE("Rules: an impossible placement is refused with the sums") {
  CHECK(refusal_fixed([](Instance& instance) {
          for (const std::size_t n : {12, 13, 16}) instance.nodes[n].draining = true;
        }) == "stage 3 can take 0 visits a step, 18 are needed: add a node or slots (3 nodes draining)");
  CHECK(refusal_fixed([](Instance& instance) {
          instance.stage_sizes.clear();
          for (const std::size_t n : {12, 13, 16}) instance.stage_of[n].clear();
        }) ==
        "stage 3 is held by no node, 1 is needed: name it in stage_of or in stages_out\n"
        "stage 3 can take 0 visits a step, 18 are needed: add a node");
  CHECK(
      refusal_fixed([](Instance& instance) { instance.nodes[3].draining = true; }) ==
      "the nodes of stage 0 can start 24 microbatches a step, 30 are needed: give each a slot and a link, or "
      "change microbatches_per_origin");
}

TEST_CASE("Rules: stages that no jump reaches are refused with what they need") {
  CHECK(rules_refusal([](Instance& instance) {
          instance.stage_sizes.clear();
          instance.max_skip = 2;
          instance.stage_out[3] = instance.stage_out[4] = 1;
          share_visits(instance, even_weights(6), 0);
        }) ==
        "stage 5 can take 0 visits a step, 30 are needed: raise max_skip or stages_per_path, or take in the "
        "stages that are out");
  // Routes of two stages with jumps of one reach stage 1 alone.
  CHECK(rules_refusal([](Instance& instance) {
          instance.max_skip = 1;
          instance.stages_per_path = 2;
          free_visits(instance);
          instance.min_visits[5] = 1;
        }) ==
        "stage 5 can take 0 visits a step, 1 are needed: raise max_skip or stages_per_path, or take in the "
        "stages that are out");
}

TEST_CASE("Rules: a swap share that routes cannot keep is refused with the sums") {
  CHECK(rules_refusal([](Instance& instance) {
          instance.min_swap_share = 0.6;
          instance.max_swaps = 0;
          instance.stages_per_path = 2;
          free_visits(instance);
        }) ==
        "min_swap_share needs max_swaps of at least 1, it is 0\n"
        "min_swap_share needs routes of at least 3 stages, they have 2\n"
        "min_swap_share asks for 36 microbatches a step through each pair, there are 30: lower it to 0.5 at "
        "most");
  CHECK(rules_refusal([](Instance& instance) { instance.min_swap_share = 0.4; })
            .starts_with("stage 1 can take 18 visits a step, 24 are needed for min_swap_share: raise "
                         "max_visits_per_stage\n"));
}

#include "scheduler/planner/evaluator.h"

#include <rapidcheck.h>
#include <rapidcheck/catch.h>
#include <algorithm>
#include <catch2/catch.hpp>
#include <tuple>

#include "scheduler/planner/instance_json.h"
#include "scheduler/planner/step_engine.h"
#include "tests/unit/planner/naive_evaluator.h"
#include "tests/unit/planner/published.h"
#include "tests/unit/planner/random_instance.h"
#include "tests/unit/planner/random_json.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;

namespace {

// Nodes begin their tasks one after the other; at one instant several nodes may begin.
auto in_order(std::vector<TaskTime> tasks) {
  std::vector<
      std::tuple<std::int64_t, std::uint32_t, int, std::uint32_t, std::uint32_t, std::int64_t, std::int64_t>>
      rows;
  for (const TaskTime& task : tasks)
    rows.emplace_back(task.begin_us, task.node, static_cast<int>(task.kind), task.path, task.stage,
                      task.ready_us, task.end_us);
  std::sort(rows.begin(), rows.end());
  return rows;
}

void check_same(const Instance& instance, const PathPlan& plan) {
  const Evaluation found = evaluate(instance, plan), expected = naive_evaluate(instance, plan);
  RC_ASSERT(std::is_sorted(found.tasks.begin(), found.tasks.end(),
                           [](const TaskTime& a, const TaskTime& b) { return a.begin_us < b.begin_us; }));
  RC_ASSERT(in_order(found.tasks) == in_order(expected.tasks));
  RC_ASSERT(found.finishes == expected.finishes);
  RC_ASSERT(found.makespan_us == expected.makespan_us);
  RC_ASSERT(found.stage_averaged_us == expected.stage_averaged_us);
  RC_ASSERT(found.step_us == expected.step_us);
  RC_ASSERT(found.nodes.size() == expected.nodes.size());
  for (std::size_t n = 0; n < found.nodes.size(); ++n) {
    RC_ASSERT(found.nodes[n].tasks == expected.nodes[n].tasks);
    RC_ASSERT(found.nodes[n].busy_us == expected.nodes[n].busy_us);
    RC_ASSERT(found.nodes[n].utilisation == expected.nodes[n].utilisation);
  }
  const auto waits = [](const Evaluation& evaluation) {
    std::vector<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>> rows;
    for (const SlotWait& wait : evaluation.waits) rows.emplace_back(wait.path, wait.stage, wait.node);
    return rows;
  };
  RC_ASSERT(waits(found) == waits(expected));
  RC_ASSERT(found.broken == broken_rules(instance, plan));
}

// Two nodes a way of 10 us apart; node 0 holds stage 0, node 1 stage 1; one microbatch goes through both.
struct Small {
  Instance instance;
  PathPlan plan;
  Small() {
    instance.stages = instance.stages_per_path = 2;
    instance.stage_out.assign(2, 0);
    instance.min_visits.assign(2, 0);
    instance.max_visits.assign(2, 9);
    instance.task_gap_us = 3;
    instance.nodes.resize(2);
    for (InstanceNode& node : instance.nodes) {
      node.id = &node == &instance.nodes[0] ? "a" : "b";
      node.forward_us = {100, 200};
      node.backward_us = {150, 300};
      node.head_us = 25;
    }
    instance.transfer_us = {0, 10, 20, 0};
    plan.stage_of = {{0}, {1}};
    plan.slots = {1, 1};
    plan.paths = {{0, {{0, 0}, {1, 1}}}};
  }
};

}  // namespace

TEST_CASE("Evaluator: one microbatch takes its tasks and its transfers") {
  const Small small;
  const Evaluation evaluation = evaluate(small.instance, small.plan);
  REQUIRE(evaluation.finishes);
  // There 100 + 10 + 200 + 20, head 25, back 10 + 300 + 20 + 150; gaps delay nobody here.
  CHECK(evaluation.makespan_us == 835);
  CHECK(evaluation.step_us == 835);
  CHECK(evaluation.nodes[0].busy_us == 100 + 25 + 150 + 3 * 3);
  CHECK(evaluation.stage_averaged_us.empty());
}

TEST_CASE("Evaluator: a slot is free again when its backward ends") {
  Small small;
  small.instance.microbatches = 2;
  small.plan.paths.push_back({1, small.plan.paths[0].hops});
  // With one slot the second begins when the first is done and the gap is over.
  CHECK(evaluate(small.instance, small.plan).makespan_us == 835 + 3 + 835);
  // With two it follows at once: node 1 is what both wait for. Its second forward ends at 513, before the
  // first one's backward comes at 365 + 10, as that waits for the node; so 516 + 300, then 20 and 150; the
  // second backward at node 1 from 819 to 1119, then 20 and 150.
  small.plan.slots = {2, 2};
  CHECK(evaluate(small.instance, small.plan).makespan_us == 1289);
}

TEST_CASE("Evaluator: a stage that no microbatch visits does not average") {
  Small small;
  small.instance.stages = 3;
  small.instance.stage_out.assign(3, 0);
  small.instance.min_visits.assign(3, 0);
  small.instance.max_visits.assign(3, 9);
  for (InstanceNode& node : small.instance.nodes) node.forward_us.resize(3, 1), node.backward_us.resize(3, 1);
  small.instance.stage_bytes = {1'000'000, 1'000'000, 1'000'000};
  small.instance.latency_us = {0, 7, 5, 0};
  small.instance.bandwidth = {0, 2e6, 4e6, 0};
  small.plan.stage_of = {{0, 2}, {1, 2}};
  const Evaluation evaluation = evaluate(small.instance, small.plan);
  // Stages 0 and 1 have one node each: no averaging, but the round trip from b to a. Stage 2 has both.
  CHECK(evaluation.stage_averaged_us == std::vector<std::int64_t>{0, 12, 500'000 + 2 * 7 + 12});
  CHECK(evaluation.step_us == 835);
}

TEST_CASE("Evaluator: microbatches that wait in a ring are named") {
  // Two microbatches go through stages 1 and 2 in opposite order, with one slot each.
  Instance instance;
  instance.stages = instance.stages_per_path = 3;
  instance.max_swaps = 1;
  instance.microbatches = 2;
  instance.stage_out.assign(3, 0);
  instance.min_visits.assign(3, 0);
  instance.max_visits.assign(3, 2);
  for (const char* id : {"a", "b", "c", "d"}) {
    InstanceNode node;
    node.id = id;
    node.forward_us.assign(3, 10);
    node.backward_us.assign(3, 10);
    node.head_us = 10;
    instance.nodes.push_back(node);
  }
  instance.transfer_us.assign(16, 5);
  PathPlan plan;
  plan.stage_of = {{0}, {0}, {1}, {2}};
  plan.slots = {1, 1, 1, 1};
  plan.paths = {{0, {{0, 0}, {1, 2}, {2, 3}}}, {1, {{0, 1}, {2, 3}, {1, 2}}}};
  const Evaluation evaluation = evaluate(instance, plan);
  CHECK_FALSE(evaluation.finishes);
  CHECK(evaluation.makespan_us == 25);
  REQUIRE(evaluation.waits.size() == 2);
  CHECK(evaluation.waits[0].node == 3);
  CHECK(evaluation.waits[1].node == 2);
  plan.slots[2] = 2;
  CHECK(evaluate(instance, plan).finishes);
}

TEST_CASE("Evaluator: the plans published with SkipPipe take what is known of them") {
  for (std::size_t i = 0; i < 3; ++i) {
    const double expected_s = published_plan_json(i)["expected_makespan_s"];
    const Evaluation evaluation = evaluate(published20(), published_plan(i));
    CHECK(evaluation.finishes);
    CHECK(evaluation.broken.empty());
    CHECK(std::abs(static_cast<double>(evaluation.makespan_us) / 1e6 - expected_s) < 1e-6);
    CHECK(naive_evaluate(published20(), published_plan(i)).makespan_us == evaluation.makespan_us);
  }
}

TEST_CASE("Random instance: it is one that a file can say, and its witness keeps the rules") {
  rc::prop("any instance", [](std::uint64_t seed) {
    net::Random random(seed);
    for (int i = 0; i < 10; ++i) {
      const auto [instance, witness] = random_instance(random);
      const std::vector<BrokenRule> broken = broken_rules(instance, witness);
      if (!broken.empty()) RC_FAIL(broken[0].rule + ": " + broken[0].text);
      const Status feasible = check_feasible(instance);
      if (!feasible.ok()) RC_FAIL(feasible.message());
      const auto again = parse_instance(nlohmann::json(to_json(instance)), "i.json");
      if (!again.ok()) RC_FAIL(again.status().message());
      RC_ASSERT(again.value() == instance);
    }
  });
}

TEST_CASE("Evaluator: equals a naive one on plans that keep the rules") {
  int stuck = 0, averaged = 0;
  rc::prop("any plan", [&](std::uint64_t seed) {
    net::Random random(seed);
    for (int i = 0; i < 40; ++i) {
      auto [instance, plan] = random_instance(random, {.microbatches_max = 20});
      check_same(instance, plan);
      for (std::uint32_t& slots : plan.slots) slots = std::min(slots, 1u);
      check_same(instance, plan);
      stuck += evaluate(instance, plan).finishes ? 0 : 1;
      averaged += instance.counts_averaging() ? 1 : 0;
    }
  });
  CHECK(stuck > 20);
  CHECK(averaged > 100);
}

TEST_CASE("Evaluator: equals a naive one on plans that keep no rule") {
  int stuck = 0;
  rc::prop("any plan", [&](std::uint64_t seed) {
    net::Random random(seed);
    for (int i = 0; i < 40; ++i) {
      const Instance instance = parse_instance(random_instance_json(random), "i.json").value();
      const PathPlan plan = random_plan(instance, random);
      check_same(instance, plan);
      stuck += evaluate(instance, plan).finishes ? 0 : 1;
    }
  });
  CHECK(stuck > 100);
}

TEST_CASE("Step engine: gives up what ends after the limit, and nothing else") {
  rc::prop("any plan", [](std::uint64_t seed) {
    net::Random random(seed);
    for (int i = 0; i < 40; ++i) {
      const auto [instance, plan] = random_instance(random);
      StepEngine engine(instance, plan.paths.size(), instance.route_length());
      if (instance.counts_averaging()) engine.set_after(averaging_us(instance, plan.stage_of));
      for (std::size_t n = 0; n < instance.node_count(); ++n) engine.set_slots(n, plan.slots[n]);
      for (std::size_t r = 0; r < plan.paths.size(); ++r)
        engine.set_row(r, plan.paths[r].hops.data(), plan.paths[r].hops.size());
      const std::int64_t step_us = engine.run(StepEngine::never);
      const Evaluation evaluation = naive_evaluate(instance, plan);
      if (!evaluation.finishes) {
        RC_ASSERT(step_us == StepEngine::never);
        continue;
      }
      RC_ASSERT(step_us == evaluation.step_us);
      RC_ASSERT(engine.run(step_us) == step_us);
      RC_ASSERT(engine.run(step_us + random.between(1, 1'000'000)) == step_us);
      RC_ASSERT(engine.run(step_us - 1) == StepEngine::never);
      RC_ASSERT(engine.run(step_us / 2) == StepEngine::never);
    }
  });
}

TEST_CASE("Evaluator: equals a naive one on larger plans") {
  rc::prop("any plan", [](std::uint64_t seed) {
    net::Random random(seed);
    const auto [instance, plan] =
        random_instance(random, {.nodes_min = 20, .nodes_max = 60, .stages_max = 12, .microbatches_max = 60});
    check_same(instance, plan);
  });
}

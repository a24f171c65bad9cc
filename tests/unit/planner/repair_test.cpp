// Plans after a change, and searches that begin with them.
#include <rapidcheck.h>
#include <rapidcheck/catch.h>
#include <algorithm>
#include <catch2/catch.hpp>
#include <optional>

#include "scheduler/planner/evaluator.h"
#include "scheduler/planner/planner.h"
#include "scheduler/planner/rules.h"
#include "tests/unit/planner/instance_changes.h"
#include "tests/unit/planner/published.h"
#include "tests/unit/planner/random_instance.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;

namespace {

std::optional<PathPlan> planned(const Instance& instance, std::uint64_t seed = 1) {
  PlanOptions options;
  options.work = 3'000;
  options.seed = seed;
  Result<PlanResult> made = make_plan(instance, options, plain_machine());
  if (!made.ok()) return std::nullopt;
  return std::move(made.value().plan);
}

// What a node pays that begins to hold a stage: the transfer from the nearest one that held it.
std::int64_t moving_us(const Instance& instance, const PathPlan& before, const PathPlan& after,
                       double horizon_steps) {
  const auto holds = [](const PathPlan& plan, std::size_t node, std::uint32_t stage) {
    return std::binary_search(plan.stage_of[node].begin(), plan.stage_of[node].end(), stage);
  };
  std::int64_t sum = 0;
  for (std::size_t n = 0; n < instance.node_count(); ++n)
    for (const std::uint32_t stage : after.stage_of[n]) {
      std::optional<double> least_us;
      for (std::size_t source = 0; source < instance.node_count(); ++source) {
        if (!holds(before, source, stage)) continue;
        const std::size_t link = source * instance.node_count() + n;
        const bool linked = instance.transfer_us[link] != Instance::no_link;
        double us = 0;
        if (source != n && !linked)
          us = static_cast<double>(Instance::time_us_max);
        else if (source != n && instance.counts_averaging())
          us = static_cast<double>(instance.latency_us[link]) +
               static_cast<double>(instance.stage_bytes[stage]) / instance.bandwidth[link] * 1e6;
        else if (source != n)
          us = instance.transfer_us[link];
        least_us = std::min(least_us.value_or(us), us);
      }
      if (least_us) sum += std::llround(std::min(*least_us / horizon_steps, 1e12));
    }
  return sum;
}

enum class Change { lost, joined, draining, stage_out, other_costs };

Instance changed(Change change, const Instance& before, const PathPlan& plan, net::Random& random) {
  const auto any = [&](std::size_t count) {
    return static_cast<std::size_t>(random.between(0, static_cast<std::int64_t>(count) - 1));
  };
  switch (change) {
    case Change::lost:
      return without_node(before, plan, any(before.node_count()));
    case Change::joined:
      return with_node_like(before, any(before.node_count()));
    case Change::draining:
      return with_draining(before, plan, any(before.node_count()));
    case Change::stage_out:
      return with_stage_out(before, 1 + static_cast<std::uint32_t>(any(before.stages - 1)));
    case Change::other_costs:
      break;
  }
  return with_other_costs(before, random);
}

}  // namespace

TEST_CASE("Repair: after any change every rule is kept, or what is in the way is told") {
  int asked = 0, refused = 0;
  rc::prop("any change", [&](std::uint64_t seed) {
    net::Random random(seed);
    const Instance before = random_instance(random).instance;
    const std::optional<PathPlan> plan = planned(before);
    if (!plan) return;
    for (const Change change :
         {Change::lost, Change::joined, Change::draining, Change::stage_out, Change::other_costs}) {
      if (change == Change::stage_out && before.stages == 1) continue;
      if (change == Change::lost && before.node_count() == 1) continue;
      const Instance after = changed(change, before, *plan, random);
      const Result<PathPlan> repaired = repair(after, before, *plan);
      const Status feasible = check_feasible(after);
      if (!feasible.ok()) {
        RC_ASSERT(!repaired.ok());
        RC_ASSERT(repaired.status().message() == feasible.message());
        continue;
      }
      // Whether there is a plan at all.
      if (planned(after)) {
        ++asked;
        refused += repaired.ok() ? 0 : 1;
      }
      if (!repaired.ok()) {
        RC_ASSERT(repaired.status().message().size() > 20);
        continue;
      }
      for (const BrokenRule& rule : broken_rules(after, repaired.value()))
        if (rule.rule != "transfer_s")
          RC_FAIL("change " + std::to_string(static_cast<int>(change)) + ": " + rule.rule + ": " + rule.text);
    }
  });
  CAPTURE(refused, asked);
  CHECK(refused * 20 <= asked);
}

TEST_CASE("Repair: nothing changes where nothing has changed") {
  rc::prop("any instance", [](std::uint64_t seed) {
    net::Random random(seed);
    const Instance instance = random_instance(random).instance;
    const std::optional<PathPlan> plan = planned(instance, seed);
    if (!plan) return;
    const Result<PathPlan> repaired = repair(instance, instance, *plan);
    if (!repaired.ok()) RC_FAIL(repaired.status().message());
    RC_ASSERT(repaired.value().stage_of == plan->stage_of);
    RC_ASSERT(repaired.value().slots == plan->slots);
    RC_ASSERT(repaired.value().paths == plan->paths);
  });
  CHECK(repair(published20(), published20(), published_plan()).value() == published_plan());
}

TEST_CASE("Repair: only what went through the lost node changes") {
  const Instance before = published20();
  const PathPlan plan = published_plan();
  for (std::size_t node = 0; node < 20; ++node) {
    const Instance after = without_node(before, plan, node);
    const Result<PathPlan> repaired = repair(after, before, plan);
    INFO(node << ": " << repaired.status().message());
    REQUIRE(repaired.ok());
    CHECK(broken_rules(after, repaired.value()).empty());
    if (plan.stage_of[node][0] == 0) continue;  // a fifth of the microbatches is gone
    const auto now = [&](PathHop hop) { return PathHop{hop.stage, hop.node - (hop.node > node ? 1u : 0u)}; };
    for (std::size_t p = 0; p < plan.paths.size(); ++p) {
      const auto& hops = plan.paths[p].hops;
      if (std::any_of(hops.begin(), hops.end(), [&](const PathHop& hop) { return hop.node == node; }))
        continue;
      for (std::size_t h = 0; h < hops.size(); ++h) CHECK(repaired.value().paths[p].hops[h] == now(hops[h]));
    }
  }
}

TEST_CASE("Warm start: never worse than the repaired plan, moving counted") {
  rc::prop("any change", [](std::uint64_t seed) {
    net::Random random(seed);
    const Instance before = random_instance(random).instance;
    const std::optional<PathPlan> plan = planned(before);
    if (!plan) return;
    // The nodes are the same, so that the plan can be handed over as it is.
    for (const Change change : {Change::draining, Change::stage_out, Change::other_costs}) {
      if (change == Change::stage_out && before.stages == 1) continue;
      const Instance after = changed(change, before, *plan, random);
      const Result<PathPlan> repaired = repair(after, before, *plan);
      if (!repaired.ok()) continue;
      const Evaluation evaluation = evaluate(after, repaired.value());
      if (!evaluation.finishes || !evaluation.broken.empty()) continue;
      PlanOptions options;
      options.work = 2'000;
      options.start = *plan;
      options.horizon_steps = static_cast<double>(random.between(1, 200));
      const Result<PlanResult> made = make_plan(after, options, plain_machine());
      if (!made.ok()) RC_FAIL(made.status().message());
      const PlanResult& result = made.value();
      RC_ASSERT(broken_rules(after, result.plan).empty());
      RC_ASSERT(result.first_us == evaluation.step_us);
      RC_ASSERT(result.moving_us == moving_us(after, *plan, result.plan, options.horizon_steps));
      RC_ASSERT(result.step_us + result.moving_us <=
                evaluation.step_us + moving_us(after, *plan, repaired.value(), options.horizon_steps));
    }
  });
}

TEST_CASE("Warm start: a placement that is to be kept is kept") {
  rc::prop("any instance", [](std::uint64_t seed) {
    net::Random random(seed);
    const Instance instance = random_instance(random).instance;
    const std::optional<PathPlan> plan = planned(instance);
    if (!plan) return;
    PlanOptions options;
    options.work = 2'000;
    options.start = *plan;
    options.keep_placement = true;
    const Result<PlanResult> made = make_plan(instance, options, plain_machine());
    if (!made.ok()) RC_FAIL(made.status().message());
    RC_ASSERT(made.value().plan.stage_of == plan->stage_of);
    RC_ASSERT(made.value().moving_us == 0);
    RC_ASSERT(made.value().step_us <= evaluate(instance, *plan).step_us);
    const Instance other = with_other_costs(instance, random);
    if (!evaluate(other, *plan).finishes) return;
    const Result<PlanResult> again = make_plan(other, options, plain_machine());
    if (!again.ok()) RC_FAIL(again.status().message());
    RC_ASSERT(again.value().plan.stage_of == plan->stage_of);
  });
}

TEST_CASE("Warm start: the published placement is kept, and its plan not made worse") {
  PlanOptions options;
  options.work = 5'000'000;
  options.keep_placement = true;
  options.start = published_plan();
  const PlanResult result = make_plan(published20(), options, plain_machine()).value();
  CHECK(result.plan.stage_of == published_plan().stage_of);
  CHECK(result.first_us == 33'573'792);
  CHECK(result.step_us <= result.first_us);
}

TEST_CASE("Warm start: weights stay where moving them costs more than it gains") {
  PlanOptions options;
  options.work = 5'000'000;
  options.start = published_plan();
  options.horizon_steps = 1;
  const PlanResult dear = make_plan(published20(), options, plain_machine()).value();
  options.horizon_steps = 1e6;
  const PlanResult cheap = make_plan(published20(), options, plain_machine()).value();
  const auto moved = [](const PathPlan& plan) {
    int count = 0;
    for (std::size_t n = 0; n < 20; ++n) count += plan.stage_of[n] == published_plan().stage_of[n] ? 0 : 1;
    return count;
  };
  CHECK(moved(dear.plan) < moved(cheap.plan));
  CHECK(cheap.step_us < dear.step_us);
}

#include "scheduler/plan.h"

#include <rapidcheck.h>
#include <rapidcheck/catch.h>

#include <catch2/catch.hpp>

#include "scheduler/record.h"
#include "tests/unit/scheduler/swarm.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;
using nlohmann::json;

namespace {

// Stages 0 on a and b, stage 1 on c.
Plan small_plan() {
  const net::NodeKey a = key(1), b = key(2), c = key(3);
  Plan plan;
  plan.epoch = 7;
  plan.stages_of = {{a, {0}}, {b, {0}}, {c, {1}}};
  plan.slots_of = {{a, 2}, {b, 2}, {c, 3}};
  plan.phases = {{1, {{0, {{0, b}, {1, c}}}, {1, {{0, a}, {1, c}}}}, 412'000},
                 {5, {{0, {{0, a}}}, {1, {{0, b}, {1, c}}}}, 300'000}};
  plan.evaluations = {{0, {{0, a}, {1, c}}}};
  return plan;
}

std::string plan_refusal(const json& value) {
  const Result<Plan> plan = parse_plan(value);
  return plan.ok() ? "accepted" : plan.status().message();
}

}  // namespace

TEST_CASE("Plan: answers who holds what and who visits whom") {
  const Plan plan = small_plan();
  CHECK(plan.stage_count() == 2);
  CHECK(plan.replicas(0) == std::vector{key(1), key(2)});
  CHECK(plan.lead_origin() == key(1));
  CHECK(plan.holds(key(3), 1));
  CHECK_FALSE(plan.holds(key(3), 0));
  CHECK(plan.visits(key(3), 1, 1) == std::vector<std::uint32_t>{0, 1});
  CHECK(plan.visits(key(2), 0, 4) == std::vector<std::uint32_t>{0});
  CHECK(plan.visits(key(2), 0, 5) == std::vector<std::uint32_t>{1});
  CHECK(plan.visits(key(3), 1, 100) == std::vector<std::uint32_t>{1});
  CHECK(plan.phase(0).from_step == 1);
}

TEST_CASE("Plan: reads back as the same plan") {
  CHECK(parse_plan(json::parse(to_json(small_plan()).dump())).value() == small_plan());
}

TEST_CASE("Plan: says who keeps which mirror") {
  Plan plan = small_plan();
  plan.mirrors = {{key(1), {1}}};
  CHECK(plan.keeper_of(1) == key(1));
  CHECK_FALSE(plan.keeper_of(0));
  CHECK(plan.keeps(key(1), 1));
  CHECK_FALSE(plan.keeps(key(3), 1));
  CHECK(parse_plan(to_json(plan)).value() == plan);
  plan.stages_of.erase(key(3));
  plan.slots_of.erase(key(3));
  plan.stages_out = plan.mirrored = {1};
  for (PlanPhase& phase : plan.phases)
    for (PlannedRoute& route : phase.routes) route.hops.resize(1);
  plan.evaluations[0].hops.resize(1);
  CHECK(parse_plan(to_json(plan)).value() == plan);
}

TEST_CASE("Plan refuses what does not fit together, by name") {
  const auto with = [](const std::string& pointer, const json& value) {
    json plan = to_json(small_plan());
    plan[json::json_pointer(pointer)] = value;
    return plan;
  };
  const std::string c = key(3).hex();
  CHECK(plan_refusal(json::array()) == "plan: not an object");
  CHECK(plan_refusal(with("/epoch", -1)) == "plan: not a whole number from 0 to 18446744073709551615");
  CHECK(plan_refusal(with("/phases/0/predicted_step_us", 0.5)) ==
        "plan: not a whole number from 0 to 9223372036854775807");
  CHECK(plan_refusal(with("/stage_of/" + c, json{2})) == "plan: a stage has no node");
  CHECK(plan_refusal(with("/stage_of/" + c, json{1, 0})) ==
        "plan: the stages of node 0300 are not ascending");
  CHECK(plan_refusal(with("/slots/" + c, 0)) == "plan: node 0300 has no slot");
  CHECK(plan_refusal(with("/phases/0/paths/0/hops/1/0", 0)) == "plan: microbatch 0 visits stage 0 twice");
  CHECK(plan_refusal(with("/phases/0/paths/0/hops/0/0", 1)) ==
        "plan: microbatch 0 does not begin at stage 0");
  CHECK(plan_refusal(with("/phases/0/paths/0/hops/0/1", c)) ==
        "plan: microbatch 0 visits stage 0 at node 0300, which does not hold it");
  CHECK(plan_refusal(with("/phases/0/paths/1/microbatch", 0)) == "plan: microbatch 0 has two routes");
  CHECK(plan_refusal(with("/phases/0/paths/1/microbatch", 2)) ==
        "plan: microbatch 2 is numbered past the last");
  CHECK(plan_refusal(with("/phases", json::array())) == "plan: no routes for step 1");
  CHECK(plan_refusal(with("/phases/0/from_step", 2)) == "plan: no routes for step 1");
  CHECK(plan_refusal(with("/phases/1/from_step", 1)) == "plan: phases do not ascend: step 1 after step 1");
  CHECK(plan_refusal(with("/phases/1/paths", json::array())) ==
        "plan: the phase of step 5 has 0 microbatches, not 2");
  CHECK(plan_refusal(with("/mirrors/" + c, json{1})) ==
        "plan: node 0300 cannot keep the mirror of stage 1: it has no part or holds the stage, another keeps "
        "one, or there is no such stage above 0");
  CHECK(plan_refusal(with("/mirrored", json{1})) == "plan: stage 1 is not out, or has no mirror");
}

TEST_CASE("Plan and record: any damage to the JSON is an error, never a crash") {
  const json plan = to_json(small_plan());
  const json record = to_json(record_step(3, small_plan()));
  rc::prop("parse", [&] {
    json damaged = *rc::gen::arbitrary<bool>() ? plan : record;
    const json flat = damaged.flatten();
    auto it = flat.begin();
    std::advance(it, *rc::gen::inRange<std::size_t>(0, flat.size()));
    const std::vector<json> values{nullptr, -1, 1e300, "x", json::array(), json::object(), true, 4294967296};
    damaged[json::json_pointer(it.key())] = values[*rc::gen::inRange<std::size_t>(0, values.size())];
    (void)parse_plan(damaged).ok();
    (void)parse_record_step(damaged).ok();
  });
}

TEST_CASE("Record step: reads back as the same step, a loss that is no number too") {
  RecordStep step = record_step(3, small_plan());
  step.validation_loss = std::numeric_limits<double>::infinity();
  step.stages[0].norm = -std::numeric_limits<double>::infinity();
  CHECK(parse_record_step(json::parse(to_json(step).dump())).value() == step);
  step.loss = std::numeric_limits<double>::quiet_NaN();
  CHECK(std::isnan(*parse_record_step(json::parse(to_json(step).dump())).value().loss));
  step.loss.reset();
  CHECK_FALSE(parse_record_step(to_json(step)).value().loss.has_value());
}

TEST_CASE("Record header: reads back") {
  const RecordHeader header{"job-1", {{"name", "job"}}};
  CHECK(parse_record_header(to_json(header)).value() == header);
  CHECK(parse_record_header(json{{"spec", 1}}).status().message() == "record header: \"job\" is missing");
}

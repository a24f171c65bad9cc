#include "scheduler/planner/path_plan.h"

#include <rapidcheck.h>
#include <rapidcheck/catch.h>
#include <catch2/catch.hpp>
#include <sstream>

#include "scheduler/planner/instance_json.h"
#include "tests/unit/planner/published.h"
#include "tests/unit/planner/random_json.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;
using nlohmann::json;

namespace {

std::string plan_refusal(const json& plan, const Instance& instance = published20()) {
  const Result<PathPlan> parsed = parse_path_plan(plan, instance, "plan.json");
  return parsed.ok() ? "accepted" : parsed.status().message();
}

json plan_with(const std::string& pointer, const json& value) {
  json plan = published_plan_json();
  plan[json::json_pointer(pointer)] = value;
  return plan;
}

}  // namespace

TEST_CASE("Path plan: a published one as it was written") {
  const PathPlan plan = published_plan();
  REQUIRE(plan.paths.size() == 30);
  CHECK(plan.paths[1].microbatch == 1);
  CHECK(plan.paths[1].hops == std::vector<PathHop>{{0, 3}, {1, 15}, {5, 17}, {4, 5}});
  CHECK(plan.stage_of[19] == std::vector<std::uint32_t>{5});
  CHECK(plan.slots == std::vector<std::uint32_t>(20, 3));  // the instance's
}

TEST_CASE("Path plan: a placement that the instance has may be left out") {
  json instance = instance_file("published20.json");
  instance["stage_of"] = instance["published_stage_of"];
  json plan = published_plan_json();
  plan.erase("stage_of");
  const Result<PathPlan> parsed = parse_path_plan(plan, parse_instance(instance, "").value(), "plan.json");
  REQUIRE(parsed.ok());
  CHECK(parsed.value() == published_plan());
}

TEST_CASE("Path plan: a node with several stages needs [stage, id]") {
  json plan = plan_with("/stage_of/14", {1, 2});
  CHECK(plan_refusal(plan).starts_with(
      "plan.json: paths[0].hops[1]: node \"14\" holds several stages: write [stage, id]\n"));
  for (json& path : plan["paths"])
    for (json& hop : path["hops"])
      if (hop == 14) hop = json::array({1, 14});
  const Result<PathPlan> parsed = parse_path_plan(plan, published20(), "plan.json");
  INFO(parsed.status().message());
  REQUIRE(parsed.ok());
  CHECK(parsed.value().paths == published_plan().paths);
}

TEST_CASE("Path plan: each problem is told with its place") {
  struct Case {
    json plan;
    std::string message;
  };
  const std::vector<Case> cases{
      {json(3), "must be an object, found 3"},
      {plan_with("/path", 3), "unknown key \"path\"; did you mean \"paths\"?"},
      {plan_with("/stage_of", 3), "stage_of: must be an object, found 3"},
      {plan_with("/stage_of/77", 3), "stage_of.77: no node \"77\""},
      {plan_with("/stage_of/9", {2, 2}), "stage_of.9[1]: stage 2 is there twice"},
      {plan_with("/slots_of", {{"9", 0}}), "slots_of.9: a node that holds a stage needs at least 1 slot"},
      {plan_with("/slots_of", {{"9", -1}, {"x", 1}}),
       "slots_of.9: value -1 is too small, at least 0 allowed\nplan.json: slots_of.x: no node \"x\""},
      {plan_with("/paths", nullptr), "paths: must be a list, found null"},
      {plan_with("/paths", std::vector<int>(1'000'000, 0)), "paths: 1000000 entries, at most 100000 allowed"},
      {plan_with("/paths/3", 1), "paths[3]: must be an object, found 1"},
      {plan_with("/paths/3/microbatch", -1),
       "paths[3].microbatch: value -1 is too small, at least 0 allowed"},
      {plan_with("/paths/3", json::object()),
       "paths[3].microbatch: is missing\nplan.json: paths[3].hops: is missing"},
      {plan_with("/paths/3/hops", json::array()), "paths[3].hops: 0 entries, at least 1 needed"},
      {plan_with("/paths/3/hops", std::vector<int>(2000, 0)),
       "paths[3].hops: 2000 entries, at most 1024 allowed"},
      {plan_with("/paths/3/hops/1", 77), "paths[3].hops[1]: no node \"77\""},
      {plan_with("/paths/3/hops/1", nullptr),
       "paths[3].hops[1]: must be a string or a whole number, found null"},
      {plan_with("/paths/3/hops/1", {1, 2, 3}),
       "paths[3].hops[1]: must be a node's id or [stage, id], found a list of 3"},
      {plan_with("/paths/3/hops/1", {6, 1}), "paths[3].hops[1][0]: no stage 6, there are stages 0 to 5"},
      {plan_with("/paths/3/hops/1", {3, 1}), "paths[3].hops[1]: node \"1\" does not hold stage 3"},
  };
  for (const Case& one : cases) CHECK(plan_refusal(one.plan) == "plan.json: " + one.message);
  json unplaced = published_plan_json();
  unplaced.erase("stage_of");
  CHECK(plan_refusal(unplaced) ==
        "plan.json: stage_of: is missing, and the instance does not have it either");
  unplaced = published_plan_json();
  unplaced["stage_of"].erase("12");
  CHECK(plan_refusal(unplaced).starts_with("plan.json: paths[0].hops[3]: node \"12\" holds no stage\n"));
}

TEST_CASE("Path plan: what is written is read back the same") {
  rc::prop("any plan", [](std::uint64_t seed) {
    net::Random random(seed);
    const Instance instance = parse_instance(random_instance_json(random), "i.json").value();
    const PathPlan plan = random_plan(instance, random);
    const json written = json::parse(to_json(plan, instance).dump());
    const Result<PathPlan> again = parse_path_plan(written, instance, "again.json");
    if (!again.ok()) RC_FAIL(again.status().message());
    RC_ASSERT(again.value() == plan);

    const Result<PathPlan> damaged = parse_path_plan(spoiled(written, random), instance, "plan.json");
    std::istringstream lines(damaged.status().message());
    for (std::string line; std::getline(lines, line);) RC_ASSERT(line.starts_with("plan.json: "));
  });
}

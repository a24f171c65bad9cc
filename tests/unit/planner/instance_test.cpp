#include "scheduler/planner/instance_json.h"

#include <catch2/catch.hpp>

#include "tests/unit/planner/published.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;

TEST_CASE("Instance: the published one as it was written") {
  const Instance instance = published20();
  CHECK(instance.stages == 6);
  CHECK(instance.microbatches == 30);
  CHECK(instance.route_length() == 4);
  CHECK(instance.task_gap_us == 130'000);
  CHECK(instance.nodes.at(19).forward_us == std::vector<std::int64_t>(6, 440'000));
  CHECK(instance.transfer(19, 18) == 1'949'944);
  CHECK(instance.min_visits == std::vector<std::uint32_t>{30, 18, 18, 18, 18, 18});
  CHECK(instance.max_visits == instance.min_visits);
}

TEST_CASE("Instance: what is written is read back") {
  const Instance instance = published20();
  const Result<Instance> again = parse_instance(nlohmann::json(to_json(instance)), "again.json");
  INFO(again.status().message());
  REQUIRE(again.ok());
  CHECK(again.value() == instance);
}

#include "scheduler/planner/path_plan.h"

#include <catch2/catch.hpp>

#include "tests/unit/planner/published.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;

TEST_CASE("Path plan: what is written is read back") {
  for (std::size_t i = 0; i < 3; ++i) {
    const Result<PathPlan> again = parse_path_plan(nlohmann::json(to_json(published_plan(i), published20())),
                                                   published20(), "again.json");
    INFO(again.status().message());
    REQUIRE(again.ok());
    CHECK(again.value() == published_plan(i));
  }
}

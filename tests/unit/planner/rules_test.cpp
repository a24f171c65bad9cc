#include "scheduler/planner/rules.h"

#include <catch2/catch.hpp>

#include "scheduler/planner/instance_json.h"
#include "tests/unit/planner/published.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;

namespace {

std::string text_of(const std::vector<BrokenRule>& broken) {
  std::string text;
  for (const BrokenRule& rule : broken) text += rule.rule + ": " + rule.text + '\n';
  return text;
}

}  // namespace

TEST_CASE("Rules: the plans published with SkipPipe break none") {
  const Instance instance = published20();
  for (std::size_t i = 0; i < 3; ++i) CHECK(text_of(broken_rules(instance, published_plan(i))) == "");
}

TEST_CASE("Rules: the published instances can be planned") {
  for (const char* name : {"published20.json", "head20.json"}) {
    const Result<Instance> instance =
        load_instance(std::string(SIDESTEP_SOURCE_DIR) + "/configs/instances/" + name);
    INFO(instance.status().message());
    REQUIRE(instance.ok());
    CHECK(check_feasible(instance.value()).message() == "");
  }
}

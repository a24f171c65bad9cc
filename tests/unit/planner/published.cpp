#include "tests/unit/planner/published.h"

#include "scheduler/options.h"
#include "scheduler/planner/instance_json.h"

namespace sidestep::scheduler::testing {

nlohmann::json instance_file(const std::string& name) {
  return load_json_file(std::string(SIDESTEP_SOURCE_DIR) + "/configs/instances/" + name).value();
}

Instance published20() {
  return parse_instance(instance_file("published20.json"), "published20.json").value();
}

nlohmann::json published_plan_json(std::size_t index) {
  return instance_file("published20.plans.json").at("plans").at(index);
}

PathPlan published_plan(std::size_t index) {
  return parse_path_plan(published_plan_json(index), published20(), "plan.json").value();
}

}  // namespace sidestep::scheduler::testing

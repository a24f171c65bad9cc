// The instances and plans published with SkipPipe, as JSON to edit and as values.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "scheduler/planner/instance.h"
#include "scheduler/planner/path_plan.h"

namespace sidestep::scheduler::testing {

nlohmann::json instance_file(const std::string& name);  // "published20.json"
Instance published20();
// Of published20: 0 is SkipPipe's, 1 without collision avoidance, 2 random.
nlohmann::json published_plan_json(std::size_t index = 0);
PathPlan published_plan(std::size_t index = 0);

}  // namespace sidestep::scheduler::testing

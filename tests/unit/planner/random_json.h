// Random instances, as files that use every key, random plans of them, and ways to spoil a file.
#pragma once

#include <nlohmann/json.hpp>

#include "net/random.h"
#include "scheduler/planner/instance.h"
#include "scheduler/planner/path_plan.h"

namespace sidestep::scheduler::testing {

// Well-formed; whether it can be planned is left to chance.
nlohmann::json random_instance_json(net::Random& random);
// Its indices are right; most rules are left to chance. No route is empty.
PathPlan random_plan(const Instance& instance, net::Random& random);
// Puts something wrong, or odd, in a few places.
nlohmann::json spoiled(nlohmann::json value, net::Random& random);

}  // namespace sidestep::scheduler::testing

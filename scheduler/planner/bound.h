// A lower bound on the step time of any plan of an instance: what is provable without searching. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "scheduler/planner/instance.h"

namespace sidestep::scheduler {

struct Bound {
  std::int64_t step_us = 0;
  std::string why;  // "work of stage 2's nodes", "slots of the origins", "shortest route"
};

// Valid for every placement and all routes that keep the rules; for fixed placements the instance says so.
Bound lower_bound(const Instance& instance);

}  // namespace sidestep::scheduler

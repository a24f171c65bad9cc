// The best plan of a tiny instance, found by trying all: placements, routes and their order.
#pragma once

#include <cstdint>
#include <optional>

#include "scheduler/planner/instance.h"

namespace sidestep::scheduler::testing {

struct Optimum {
  bool complete = false;                // false: there is more to try than `tries_max`; nothing was tried
  std::optional<std::int64_t> step_us;  // none: no plan keeps the rules and finishes
};
Optimum exhaustive_optimum(const Instance& instance, std::uint64_t tries_max);

}  // namespace sidestep::scheduler::testing

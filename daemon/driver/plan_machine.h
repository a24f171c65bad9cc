// Threads and a clock for the planner, which is pure. Used by `sidestep plan` and by the service.
#pragma once

#include <cstddef>

#include "scheduler/planner/planner.h"

namespace sidestep::driver {

// Jobs run on up to `threads` threads, the caller's among them; 0: one per core. Threads live as long as one
// call of run_all; an exception of a job comes out of it, after all jobs. May be called by several threads
// at once.
scheduler::PlanMachine plan_machine(std::size_t threads);

}  // namespace sidestep::driver

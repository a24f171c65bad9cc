// Routes by playing the step once: every microbatch goes on to the replica that will take it soonest. What a
// search starts from. Pure, deterministic.
#pragma once

#include "scheduler/planner/construct.h"
#include "scheduler/planner/draft.h"
#include "scheduler/planner/instance.h"

namespace sidestep::scheduler {

// Sets the rows of a draft whose placement is made: microbatches are injected where a slot of an origin is
// free, in the order of `sets`. Precondition: as many rows as sets, every stage of a set has a node that does
// not drain.
void dispatch(const Instance& instance, const StageSets& sets, Draft& draft);

// The draft's own stage sets dispatched again, or the draft where that is no better.
Draft dispatched_again(const Instance& instance, const Draft& draft);

}  // namespace sidestep::scheduler

// The cost model a second time, written from its text alone (design.md, Cost model; the head of
// evaluator.h): slow, plain, and sharing nothing with the step engine, so that the two check each other.
#pragma once

#include "scheduler/planner/evaluator.h"

namespace sidestep::scheduler::testing {

// As evaluate(), but `broken` stays empty.
Evaluation naive_evaluate(const Instance& instance, const PathPlan& plan);

}  // namespace sidestep::scheduler::testing

// Pictures of a plan, as SVG. Pure.
#pragma once

#include <string>

#include "scheduler/planner/evaluator.h"
#include "scheduler/planner/instance.h"
#include "scheduler/planner/path_plan.h"

namespace sidestep::cli {

// The whole file: the headline, a Gantt chart with a lane for each node, and below it a map of the routes
// over the stages. Large plans are drawn smaller and with fewer words. Precondition: `evaluation` is of
// this instance and plan.
std::string draw_plan(const scheduler::Instance& instance, const scheduler::PathPlan& plan,
                      const scheduler::Evaluation& evaluation, const std::string& headline);

}  // namespace sidestep::cli

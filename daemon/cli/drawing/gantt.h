// The Gantt chart of a plan: a lane for each node, grouped by stage, and a rectangle for each task. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/cli/drawing/svg.h"
#include "scheduler/planner/evaluator.h"
#include "scheduler/planner/instance.h"
#include "scheduler/planner/path_plan.h"

namespace sidestep::cli {

// Draws below `top`.
void draw_gantt(Svg& svg, double top, const scheduler::Instance& instance, const scheduler::PathPlan& plan,
                const scheduler::Evaluation& evaluation);

// Whole multiples of 1, 2 or 5 times a power of ten, from 0 to `end` at most, about `wanted` of them.
std::vector<double> round_ticks(double end, double wanted);
// Nodes in order of their first stage, those without one last.
std::vector<std::uint32_t> nodes_by_stage(const scheduler::Instance& instance,
                                          const scheduler::PathPlan& plan);
// The number of seconds with `decimals`, "33.57 s".
std::string seconds_text(std::int64_t us, int decimals);

}  // namespace sidestep::cli

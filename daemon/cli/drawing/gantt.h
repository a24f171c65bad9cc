// The Gantt chart of a plan: a lane for each node, grouped by stage, and a rectangle for each task. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/cli/drawing/svg.h"
#include "scheduler/planner/evaluator.h"
#include "scheduler/planner/instance.h"
#include "scheduler/planner/path_plan.h"

namespace sidestep::cli {

// A stretch of a node's lane that is none of the plan's tasks.
struct GanttSpan {
  enum class Kind { averaging, validation, commit_wait };
  Kind kind = Kind::averaging;
  std::uint32_t node = 0;
  std::int64_t begin_us = 0;
  std::int64_t end_us = 0;
};

// What a chart says that is not simply of a plan's evaluation.
struct GanttView {
  std::string title = "Tasks of each node";
  std::string end_name = "makespan";  // what ends at the evaluation's makespan_us
  // Instead of the averaging that the evaluation has.
  std::optional<std::vector<GanttSpan>> spans = {};
};

// Draws below `top`.
void draw_gantt(Svg& svg, double top, const scheduler::Instance& instance, const scheduler::PathPlan& plan,
                const scheduler::Evaluation& evaluation, const GanttView& view = {});

// Whole multiples of 1, 2 or 5 times a power of ten, from 0 to `end` at most, about `wanted` of them.
std::vector<double> round_ticks(double end, double wanted);
// Nodes in order of their first stage, those without one last.
std::vector<std::uint32_t> nodes_by_stage(const scheduler::Instance& instance,
                                          const scheduler::PathPlan& plan);
// The number of seconds with `decimals`, "33.57 s".
std::string seconds_text(std::int64_t us, int decimals);

}  // namespace sidestep::cli

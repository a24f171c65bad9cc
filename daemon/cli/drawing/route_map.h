// The map of a plan's routes: a column for each stage, a box for each node, lines from left to right. Pure.
#pragma once

#include "daemon/cli/drawing/svg.h"
#include "scheduler/planner/instance.h"
#include "scheduler/planner/path_plan.h"

namespace sidestep::cli {

// How much of a plan there is room for.
enum class MapDetail {
  microbatches,  // a line for each, numbered in the boxes that it visits
  nodes,         // a line for each pair of nodes, as wide as it is used
  stages         // a box for each stage, and an arc for each pair of stages
};
MapDetail map_detail(const scheduler::Instance& instance, const scheduler::PathPlan& plan);

// Draws below `top`.
void draw_route_map(Svg& svg, double top, const scheduler::Instance& instance,
                    const scheduler::PathPlan& plan);
// The same with MapDetail::stages.
void draw_stage_map(Svg& svg, double top, const scheduler::Instance& instance,
                    const scheduler::PathPlan& plan);

// What a hop is, in the colours and dashes of maps without microbatches.
struct HopStyle {
  const char* text;
  const char* colour;
  const char* dashes;  // an attribute
};
inline constexpr HopStyle next_hop{"to the next stage", "#4477aa", ""};
inline constexpr HopStyle skip_hop{"skipping stages", "#e69f00", ""};
inline constexpr HopStyle swap_hop{"swap: back to an earlier stage", "#aa3377", " stroke-dasharray=\"6 3\""};
const HopStyle& hop_style(std::uint32_t from_stage, std::uint32_t to_stage);
// Samples of the three, in a row from `x`; where the row ends.
double draw_hop_legend(Svg& svg, double x, double y);

}  // namespace sidestep::cli

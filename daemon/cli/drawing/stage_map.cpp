// The map of routes of a plan with too many nodes for a line each: a box for each stage, arcs between them.
#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "daemon/cli/drawing/route_map.h"

namespace sidestep::cli {
namespace {

using scheduler::Instance;
using scheduler::Path;
using scheduler::PathPlan;

constexpr double plain_text = 11;
constexpr double fine_text = 10;
constexpr double box_height = 48;
constexpr double gap = 26;
constexpr double arc_height_max = 260;

// How high an arc over so many stages is.
double arc_height(std::uint32_t distance) { return std::min(arc_height_max, 24 + 20.0 * (distance - 1)); }

}  // namespace

void draw_stage_map(Svg& svg, double top, const Instance& instance, const PathPlan& plan) {
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::size_t> hops;
  std::vector<std::size_t> visits(instance.stages, 0), holders(instance.stages, 0);
  for (const Path& path : plan.paths)
    for (std::size_t i = 0; i < path.hops.size(); ++i) {
      ++visits[path.hops[i].stage];
      if (i > 0) ++hops[{path.hops[i - 1].stage, path.hops[i].stage}];
    }
  for (const auto& held : plan.stage_of)
    for (const std::uint32_t stage : held) ++holders[stage];
  std::size_t widest = 1;
  double above = 0, below = 0;
  for (const auto& [pair, count] : hops) {
    widest = std::max(widest, count);
    if (pair.second > pair.first + 1) above = std::max(above, arc_height(pair.second - pair.first));
    if (pair.second <= pair.first)
      below = std::max(below, arc_height(std::max(1u, pair.first - pair.second)));
  }

  const auto texts = [&](std::uint32_t stage) {
    return std::vector<std::string>{"stage " + std::to_string(stage),
                                    std::to_string(holders[stage]) + " nodes",
                                    std::to_string(visits[stage]) + " visits"};
  };
  double width = 0;
  for (std::uint32_t stage = 0; stage < instance.stages; ++stage)
    for (const std::string& text : texts(stage)) width = std::max(width, text_width(text, plain_text) + 8);
  const auto x = [&](std::uint32_t stage) { return Svg::margin + (width + gap) * stage; };
  const double box_top = top + 30 + above * 0.8, box_bottom = box_top + box_height;

  svg.text(Svg::margin, top + 14, 14, "Routes over the stages", Anchor::start, "font-weight=\"bold\"");
  for (const auto& [pair, count] : hops) {
    const HopStyle& style = hop_style(pair.first, pair.second);
    const double thickness = 0.6 + 11.4 * static_cast<double>(count) / static_cast<double>(widest);
    const std::string attributes = "class=\"wire\" fill=\"none\" stroke=\"" + std::string(style.colour) +
                                   "\" stroke-width=\"" + px(thickness) + "\" stroke-opacity=\"0.6\"" +
                                   style.dashes;
    const std::string tip = "stage " + std::to_string(pair.first) + " to " + std::to_string(pair.second) +
                            ": " + std::to_string(count);
    const bool back = &style == &swap_hop;
    if (&style == &next_hop) {
      svg.path(
          "M" + px(x(pair.first) + width) + " " + px(box_top + box_height / 2) + "H" + px(x(pair.second)),
          attributes, tip);
      continue;
    }
    // Out of the right half of the box and into the left half of the other, or the other way round below.
    const double from = x(pair.first) + width * (back ? 0.35 : 0.65),
                 to = x(pair.second) + width * (back ? 0.65 : 0.35);
    const double edge = back ? box_bottom : box_top;
    const std::uint32_t distance = std::max(1u, back ? pair.first - pair.second : pair.second - pair.first);
    const std::string peak = px(edge + (back ? 1 : -1) * arc_height(distance));
    svg.path("M" + px(from) + " " + px(edge) + "C" + px(from) + " " + peak + " " + px(to) + " " + peak + " " +
                 px(to) + " " + px(edge),
             attributes, tip);
  }
  for (std::uint32_t stage = 0; stage < instance.stages; ++stage) {
    svg.rect(x(stage), box_top, width, box_height, "class=\"node\" rx=\"2\" fill=\"#fff\" stroke=\"#555\"");
    double y = box_top + 15;
    for (const std::string& text : texts(stage)) {
      svg.text(x(stage) + width / 2, y, stage >= 1000 ? fine_text : plain_text, text, Anchor::middle);
      y += 14;
    }
  }
  const double y = box_bottom + below * 0.8 + 30;
  const double end = draw_hop_legend(svg, Svg::margin, y);
  svg.text(end, y, plain_text, "width: microbatches that go this way, at most " + std::to_string(widest));
}

}  // namespace sidestep::cli

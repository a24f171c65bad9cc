#include "daemon/cli/drawing/plan_drawing.h"

#include "daemon/cli/drawing/gantt.h"
#include "daemon/cli/drawing/route_map.h"
#include "daemon/cli/drawing/svg.h"

namespace sidestep::cli {
namespace {

using scheduler::Evaluation;
using scheduler::Instance;
using scheduler::PathPlan;

// "20 nodes, 6 stages, 30 microbatches; makespan 33.57 s, ...".
std::string facts(const Instance& instance, const PathPlan& plan, const Evaluation& evaluation) {
  std::string text = std::to_string(instance.node_count()) + " nodes, " + std::to_string(instance.stages) +
                     " stages, " + std::to_string(plan.paths.size()) + " microbatches; makespan " +
                     seconds_text(evaluation.makespan_us, 2);
  if (instance.counts_averaging()) text += ", step with averaging " + seconds_text(evaluation.step_us, 2);
  return text;
}

}  // namespace

std::string draw_plan(const Instance& instance, const PathPlan& plan, const Evaluation& evaluation,
                      const std::string& headline) {
  Svg svg;
  double y = Svg::margin + 18;
  svg.text(Svg::margin, y, 18, headline);
  svg.text(Svg::margin, y += 20, 12, facts(instance, plan, evaluation), Anchor::start, "fill=\"#555\"");
  const auto warn = [&](const std::string& text) {
    svg.text(Svg::margin, y += 18, 12, text, Anchor::start, "fill=\"#b00020\"");
  };
  if (!evaluation.finishes)
    warn("does not finish: " + std::to_string(evaluation.waits.size()) +
         " microbatches wait for slots that never come free; drawn is what runs before");
  if (!evaluation.broken.empty())
    warn("breaks " + std::to_string(evaluation.broken.size()) +
         " rules, first: " + evaluation.broken.front().rule + ": " + evaluation.broken.front().text);
  draw_gantt(svg, y + 34, instance, plan, evaluation);
  draw_route_map(svg, svg.height() + 34, instance, plan);
  return svg.document(headline);
}

}  // namespace sidestep::cli

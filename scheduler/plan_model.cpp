#include "scheduler/plan_model.h"

#include <algorithm>
#include <map>

#include "net/assert.h"
#include "scheduler/placement_instance.h"

namespace sidestep::scheduler {
namespace {

double ratio_at(const JobSpec& job, std::uint64_t step) {
  double ratio = 0;
  for (const SkipPhase& phase : job.pipeline.phases())
    if (static_cast<std::uint64_t>(phase.from_step) <= std::max<std::uint64_t>(step, 1)) ratio = phase.ratio;
  return ratio;
}

}  // namespace

PlanModel model_of(const JobSpec& job, const Plan& plan, std::uint64_t step,
                   const std::vector<PlacementNode>& nodes) {
  SIDESTEP_ASSERT(nodes.size() == plan.stages_of.size());
  std::vector<const PlacementNode*> list;
  std::map<net::NodeKey, std::uint32_t> places;
  std::vector<std::uint32_t> sizes(plan.stage_count(), 0);
  PlanModel model;
  for (const PlacementNode& node : nodes) {
    const std::vector<std::uint32_t>& held = plan.stages_of.at(node.key);
    places[node.key] = static_cast<std::uint32_t>(list.size());
    list.push_back(&node);
    model.plan.stage_of.push_back(held);
    model.plan.slots.push_back(plan.slots_of.at(node.key));
    for (const std::uint32_t stage : held) ++sizes[stage];
  }
  model.instance = placement_instance(job, ratio_at(job, step), list, sizes);
  model.instance.stage_of = model.plan.stage_of;
  for (const std::uint32_t stage : plan.stages_out) model.instance.stage_out[stage] = 1;
  for (const PlannedRoute& route : plan.phase(step).routes) {
    Path& path = model.plan.paths.emplace_back();
    path.microbatch = route.microbatch;
    for (const net::Hop& hop : route.hops) path.hops.push_back({hop.stage, places.at(hop.node)});
  }
  return model;
}

std::string milliseconds(std::int64_t us) {
  if (us >= 10'000) return std::to_string((us + 500) / 1000) + " ms";
  return std::to_string(us / 1000) + '.' + std::to_string(us % 1000 / 100) + " ms";
}

std::string slowest_text(const PlanModel& model, const std::vector<PlacementNode>& nodes) {
  struct Load {
    std::uint32_t stage = 0;
    std::int64_t visits = 0, us = 0;
  };
  std::vector<Load> loads(nodes.size());
  std::int64_t way_us = -1;
  std::uint32_t from = 0, to = 0;
  const auto pass = [&](std::uint32_t a, std::uint32_t b) {
    if (a == b || model.instance.transfer(a, b) <= way_us) return;
    way_us = model.instance.transfer(a, b);
    from = a;
    to = b;
  };
  for (const Path& path : model.plan.paths)
    for (std::size_t i = 0; i < path.hops.size(); ++i) {
      const PathHop& hop = path.hops[i];
      const InstanceNode& node = model.instance.nodes[hop.node];
      Load& load = loads[hop.node];
      load.stage = hop.stage;
      ++load.visits;
      load.us += node.forward_us[hop.stage] + node.backward_us[hop.stage] + (i == 0 ? node.head_us : 0);
      const std::uint32_t next = path.hops[(i + 1) % path.hops.size()].node;
      pass(hop.node, next);
      pass(next, hop.node);
    }
  const auto busiest = std::ranges::max_element(loads, {}, &Load::us);
  if (busiest == loads.end() || busiest->visits == 0) return {};
  const auto name = [&](std::size_t node) { return nodes[node].nickname; };
  std::string text = "busiest is " + name(static_cast<std::size_t>(busiest - loads.begin())) + " with " +
                     std::to_string(busiest->visits) +
                     (busiest->visits == 1 ? " microbatch" : " microbatches") + " of stage " +
                     std::to_string(busiest->stage) + ", " + milliseconds(busiest->us / busiest->visits) +
                     " each";
  if (way_us >= 0) text += "; slowest way " + name(from) + " to " + name(to) + ", " + milliseconds(way_us);
  return text;
}

}  // namespace sidestep::scheduler

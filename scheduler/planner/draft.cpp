#include "scheduler/planner/draft.h"

#include <algorithm>

#include "net/assert.h"

namespace sidestep::scheduler {

Draft::Draft(const Instance& instance, std::size_t row_count)
    : rows(row_count),
      length(instance.route_length()),
      hops(rows * length),
      held(instance.node_count()),
      holders(instance.stages) {}

void Draft::hold(std::size_t node, std::uint32_t stage) {
  auto& stages = held[node];
  stages.insert(std::lower_bound(stages.begin(), stages.end(), stage), stage);
  auto& nodes = holders[stage];
  const auto index = static_cast<std::uint32_t>(node);
  nodes.insert(std::lower_bound(nodes.begin(), nodes.end(), index), index);
}

void Draft::release(std::size_t node, std::uint32_t stage) {
  std::erase(held[node], stage);
  std::erase(holders[stage], static_cast<std::uint32_t>(node));
}

std::vector<std::uint32_t> Draft::visits() const {
  std::vector<std::uint32_t> visits(holders.size(), 0);
  for (const PathHop& hop : hops) ++visits[hop.stage];
  return visits;
}

PathPlan Draft::plan(const Instance& instance) const {
  PathPlan plan;
  plan.stage_of = held;
  for (std::size_t n = 0; n < held.size(); ++n) plan.slots.push_back(instance.slots_with(n, held[n]));
  for (std::size_t r = 0; r < rows; ++r)
    plan.paths.push_back({static_cast<std::uint32_t>(r), {row(r), row(r) + length}});
  return plan;
}

Draft draft_of(const Instance& instance, const PathPlan& plan) {
  Draft draft(instance, plan.paths.size());
  for (std::size_t n = 0; n < plan.stage_of.size(); ++n)
    for (const std::uint32_t stage : plan.stage_of[n]) draft.hold(n, stage);
  for (std::size_t r = 0; r < plan.paths.size(); ++r) {
    SIDESTEP_ASSERT(plan.paths[r].hops.size() == draft.length);
    std::copy(plan.paths[r].hops.begin(), plan.paths[r].hops.end(), draft.row(r));
  }
  return draft;
}

}  // namespace sidestep::scheduler

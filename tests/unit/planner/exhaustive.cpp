#include "tests/unit/planner/exhaustive.h"

#include <algorithm>

#include "scheduler/planner/evaluator.h"
#include "scheduler/planner/rules.h"
#include "scheduler/planner/step_engine.h"

namespace sidestep::scheduler::testing {
namespace {

using Held = std::vector<std::uint32_t>;  // stages

// Everything that the node may hold, nothing too.
std::vector<Held> choices(const Instance& instance, std::size_t node) {
  if (instance.placement_fixed()) return {instance.stage_of[node]};
  std::vector<Held> all;
  for (std::uint32_t set = 0; set < (1u << instance.stages); ++set) {
    Held held;
    for (std::uint32_t s = 0; s < instance.stages; ++s)
      if ((set >> s & 1) != 0) held.push_back(s);
    if (held.size() > instance.nodes[node].max_stages ||
        (!held.empty() && instance.slots_with(node, held) == 0) ||
        !std::all_of(held.begin(), held.end(), [&](std::uint32_t s) { return instance.may_hold(node, s); }))
      continue;
    all.push_back(std::move(held));
  }
  return all;
}

class Exhaustive {
 public:
  Exhaustive(const Instance& instance, std::uint64_t tries_max)
      : instance_(instance),
        tries_max_(tries_max),
        engine_(instance, instance.microbatches, instance.route_length()) {
    plan_.stage_of.resize(instance.node_count());
    plan_.slots.resize(instance.node_count());
    plan_.paths.resize(instance.microbatches);
    for (std::uint32_t m = 0; m < instance.microbatches; ++m) plan_.paths[m].microbatch = m;
    for (std::size_t n = 0; n < instance.node_count(); ++n) choices_.push_back(choices(instance, n));
  }

  Optimum run() {
    try_ = false;
    place(0);
    if (tries_ > tries_max_) return {};
    try_ = true;
    place(0);
    return {true, best_};
  }

 private:
  void place(std::size_t node) {
    if (tries_ > tries_max_) return;
    if (node == instance_.node_count()) {
      placed();
      return;
    }
    for (const Held& held : choices_[node]) {
      plan_.stage_of[node] = held;
      place(node + 1);
    }
  }

  void placed() {
    if (!try_) ++placements_;
    if (placements_ > tries_max_) tries_ = placements_;
    holders_.assign(instance_.stages, {});
    for (std::uint32_t n = 0; n < plan_.stage_of.size(); ++n)
      for (const std::uint32_t stage : plan_.stage_of[n]) holders_[stage].push_back(n);
    for (std::uint32_t s = 0; s < instance_.stages; ++s) {
      if (instance_.stage_out[s] == 0 && holders_[s].empty()) return;
      if (!instance_.stage_sizes.empty() && holders_[s].size() != instance_.stage_sizes[s]) return;
    }
    routes_.clear();
    std::vector<PathHop> route;
    extend(route);
    if (!try_) {
      std::uint64_t orders = 1;
      for (std::uint32_t m = 0; m < instance_.microbatches && orders <= tries_max_; ++m)
        orders *= routes_.size();
      tries_ += orders;
      return;
    }
    for (std::size_t n = 0; n < plan_.stage_of.size(); ++n) {
      plan_.slots[n] = instance_.slots_with(n, plan_.stage_of[n]);
      engine_.set_slots(n, plan_.slots[n]);
    }
    if (instance_.counts_averaging()) engine_.set_after(averaging_us(instance_, plan_.stage_of));
    order(0);
  }

  // Every route that there is.
  void extend(std::vector<PathHop>& route) {
    if (route.size() == instance_.route_length()) {
      routes_.push_back(route);
      return;
    }
    for (std::uint32_t stage = 0; stage < instance_.stages; ++stage) {
      std::vector<std::uint32_t> stages;
      for (const PathHop& hop : route) stages.push_back(hop.stage);
      stages.push_back(stage);
      if (!order_allowed(instance_, stages.data(), stages.size())) continue;
      for (const std::uint32_t node : holders_[stage]) {
        if (instance_.nodes[node].draining) continue;
        route.push_back({stage, node});
        extend(route);
        route.pop_back();
      }
    }
  }

  void order(std::size_t row) {
    if (row == plan_.paths.size()) {
      const std::int64_t limit = best_ ? *best_ - 1 : StepEngine::never;
      const std::int64_t step = engine_.run(limit);
      if (step != StepEngine::never && broken_rules(instance_, plan_).empty()) best_ = step;
      return;
    }
    for (const auto& route : routes_) {
      plan_.paths[row].hops = route;
      engine_.set_row(row, route.data(), route.size());
      order(row + 1);
    }
  }

  const Instance& instance_;
  const std::uint64_t tries_max_;
  StepEngine engine_;
  PathPlan plan_;
  std::vector<std::vector<Held>> choices_;           // by node
  std::vector<std::vector<std::uint32_t>> holders_;  // by stage
  std::vector<std::vector<PathHop>> routes_;
  bool try_ = false;  // else only counted
  std::uint64_t tries_ = 0, placements_ = 0;
  std::optional<std::int64_t> best_;
};

}  // namespace

Optimum exhaustive_optimum(const Instance& instance, std::uint64_t tries_max) {
  return Exhaustive(instance, tries_max).run();
}

}  // namespace sidestep::scheduler::testing

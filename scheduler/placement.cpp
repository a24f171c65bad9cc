#include "scheduler/placement.h"

#include <algorithm>
#include <optional>

#include "scheduler/dealing.h"
#include "scheduler/given_plan.h"
#include "scheduler/memory.h"
#include "scheduler/placement_instance.h"
#include "scheduler/placement_room.h"
#include "scheduler/planner/construct.h"
#include "scheduler/planner/evaluator.h"
#include "scheduler/planner/rules.h"
#include "scheduler/planner/visit_share.h"
#include "scheduler/planner/wan.h"
#include "scheduler/route_sets.h"

namespace sidestep::scheduler {
namespace {

std::string name_of(const PlacementNode& node) { return node.nickname + " (" + node.key.short_name() + ")"; }

// What one planning came to.
struct Found {
  Instance instance;
  PathPlan plan;
  std::int64_t step_us = 0;
};

class Placement {
 public:
  Placement(const JobSpec& job, const std::vector<PlacementNode>& nodes)
      : job_(job),
        stages_(static_cast<std::size_t>(job_.pipeline.stages)),
        phases_(job_.pipeline.phases()),
        longest_(longest_phase()) {
    for (const PlacementNode& node : nodes) {
      if (node.problem.empty())
        nodes_.push_back(&node);
      else
        problems_.push_back(name_of(node) + ": " + node.problem);
    }
  }

  // Whether there is any way to hold all stages, as far as memory and data go. Every refusal names all nodes
  // with what they have, so that the sums can be checked by eye.
  Status check_memory() const {
    if (nodes_.size() < stages_ || PlacementRoom(job_, nodes_).enough()) return {};
    std::string text =
        "the stages do not fit: stage 0, on a node with " + job_.data.name() + ", needs " + need_text(0);
    if (stages_ > 1)
      text += std::string(stages_ == 2 ? "; stage 1 needs "
                                       : "; each of stages 1 to " + std::to_string(stages_ - 1) + " needs ") +
              need_text(1);
    for (const PlacementNode* node : nodes_)
      text += (node == nodes_.front() ? "; " : ", ") + name_of(*node) +
              (node->memory_bytes == PlacementNode::unknown_bytes
                   ? " has not said how much it has"
                   : (node->has_data ? ", with the data, has " : " has ") + mebibytes(node->memory_bytes)) +
              (node->daemon_bytes > 0 ? ", of which its daemon takes " + mebibytes(node->daemon_bytes) : "");
    return Status::refused(text + problems_text());
  }

  Status check() const {
    if (nodes_.size() < stages_) {
      const std::size_t alive = nodes_.size() + problems_.size();
      std::string text = std::to_string(stages_) + (stages_ == 1 ? " stage needs " : " stages need ") +
                         std::to_string(stages_) + (stages_ == 1 ? " node, " : " nodes, ") +
                         std::to_string(alive) + (alive == 1 ? " is alive" : " are alive");
      if (!problems_.empty())
        text += ", " + std::to_string(nodes_.size()) + " can take part" + problems_text();
      return Status::refused(text);
    }
    if (nodes_.size() > Instance::nodes_max)
      return Status::refused(std::to_string(nodes_.size()) + " nodes can take part, at most " +
                             std::to_string(Instance::nodes_max) + " can be planned for");
    if (std::none_of(nodes_.begin(), nodes_.end(),
                     [](const PlacementNode* node) { return node->has_data; })) {
      std::string text = "stage 0 needs a node with " + job_.data.name() + ", none has it";
      for (const PlacementNode* node : nodes_)
        text += (node == nodes_.front() ? ": " : "; ") + name_of(*node) + ": " + node->data_problem;
      return Status::refused(text + problems_text());
    }
    return check_memory();
  }

  // Precondition: check().
  Result<Plan> plan(const PlacementRequest& request, const PlanMachine& machine) const {
    // Hundreds of nodes give more to try.
    constexpr std::uint64_t nodes_of_one_share = 200;
    const std::uint64_t work = request.work * (1 + nodes_.size() / nodes_of_one_share);
    // Two searches: from the planner's own start, and from nodes put where they are needed most. The planner
    // counts memory by stage, whoever else holds it, so both leave room for averages everywhere; but where
    // that costs a node its place or a slot, the second keeps to as many nodes a stage as are sure to fit.
    Result<Found> own = find(placement_instance(job_, ratio(), nodes_, {}), std::nullopt, work / 2, machine);
    Result<Found> filled = find_from_filled(work - work / 2, machine);
    if (!own.ok() && !filled.ok()) return filled.status();
    const bool better = !own.ok() || (filled.ok() && filled.value().step_us < own.value().step_us);
    return with_phases(with_copies(std::move(better ? filled : own).value(), work / 2, machine), request,
                       machine);
  }

  // As the job says it. Precondition: check().
  Result<Plan> plan_given(const PlacementRequest& request) const {
    Instance instance = placement_instance(job_, ratio(), nodes_, {});
    std::vector<std::string> nicknames;
    for (const PlacementNode* node : nodes_) nicknames.push_back(node->nickname);
    Result<PathPlan> given = given_plan(job_, instance, nicknames);
    if (!given.ok()) return given.status();
    const std::int64_t step_us = evaluate(instance, given.value()).step_us;
    return translate({{std::move(instance), std::move(given).value(), step_us}}, request.epoch);
  }

  // Who holds what stays as the request says.
  Result<Plan> plan_kept(const PlacementRequest& request, const PlanMachine& machine) const {
    if (std::ranges::none_of(request.stages_of, [](const auto& entry) { return has_stage(entry.second, 0); }))
      return Status::refused("nobody holds stage 0, which every microbatch visits");
    StagesByIndex stage_of;
    for (const PlacementNode* node : nodes_) stage_of.push_back(request.stages_of.at(node->key));
    const Result<Found> placed = find(settled(std::move(stage_of)), std::nullopt, request.work, machine);
    if (!placed.ok()) return placed.status();
    return with_phases(placed.value(), request, machine);
  }

 private:
  using StagesByIndex = std::vector<std::vector<std::uint32_t>>;  // ascending, by node

  // Who holds what is settled; a stage that nobody holds is out.
  Instance settled(StagesByIndex stage_of) const {
    std::vector<std::uint32_t> sizes(stages_, 0);
    for (const std::vector<std::uint32_t>& held : stage_of)
      for (const std::uint32_t stage : held) ++sizes[stage];
    Instance instance = placement_instance(job_, ratio(), nodes_, sizes);
    for (std::size_t s = 0; s < stages_; ++s) instance.stage_out[s] = sizes[s] == 0 ? 1 : 0;
    go_around(job_, instance);
    for (std::size_t n = 0; n < nodes_.size(); ++n) {
      if (stage_of[n].size() < 2) continue;
      // Microbatches that hold one of this node's slots wait for another here too: those that came first
      // would keep each other out, so it wants room for every one.
      std::uint32_t& slots = instance.nodes[n].slots;
      slots = std::max(slots, instance.microbatches) * static_cast<std::uint32_t>(stage_of[n].size());
    }
    instance.stage_of = std::move(stage_of);
    return instance;
  }

  // More holders of the stages that the job's recovery wants held more often than speed alone does, each
  // beside what the node holds; as far as there are nodes with the memory and, for stage 0, the data.
  Found with_copies(Found found, std::uint64_t work, const PlanMachine& machine) const {
    StagesByIndex held = found.plan.stage_of;
    const Instance instance = placement_instance(job_, ratio(), nodes_, {});  // room for averaging everywhere
    for (std::uint32_t s = 0; s < stages_; ++s)
      while (held_by(held, s).size() < job_.recovery.holders_wanted(s)) {
        const std::optional<std::size_t> host = best_copy_host(instance, held, s);
        if (!host) break;
        held[*host].insert(std::ranges::lower_bound(held[*host], s), s);
      }
    if (held == found.plan.stage_of) return found;
    Result<Found> copied = find(settled(std::move(held)), std::nullopt, work, machine);
    return copied.ok() ? std::move(copied).value() : std::move(found);
  }

  // Where averaging with it takes the least time, of those alike the one with the fewest stages.
  static std::optional<std::size_t> best_copy_host(const Instance& instance, const StagesByIndex& held,
                                                   std::uint32_t stage) {
    constexpr std::int64_t alike_us = 5'000;
    std::optional<std::size_t> best;
    std::pair<std::int64_t, std::size_t> best_cost;
    for (std::size_t n = 0; n < held.size(); ++n) {
      if (has_stage(held[n], stage) || !instance.may_hold(n, stage)) continue;
      StagesByIndex with = held;
      with[n].insert(std::ranges::lower_bound(with[n], stage), stage);
      if (instance.slots_with(n, with[n]) == 0) continue;
      const std::pair<std::int64_t, std::size_t> cost{averaging_us(instance, with)[stage] / alike_us,
                                                      held[n].size()};
      if (best && best_cost <= cost) continue;
      best = n;
      best_cost = cost;
    }
    return best;
  }

  Result<Plan> with_phases(const Found& placed, const PlacementRequest& request,
                           const PlanMachine& machine) const {
    std::vector<Found> found;
    for (std::size_t i = 0; i < phases_.size(); ++i) {
      Result<Found> one =
          i == longest_ ? placed : find_kept(placed, phases_[i].ratio, request.work / 4, machine);
      if (!one.ok()) return one.status();
      found.push_back(std::move(one).value());
    }
    return translate(found, request.epoch);
  }

  std::string need_text(std::int64_t stage) const { return memory_need(job_, stage, 1).text(); }

  std::string problems_text() const {
    std::string text;
    for (const std::string& problem : problems_) text += "; " + problem;
    return text;
  }

  // Microbatches a microsecond.
  static double rate(const Instance& instance, std::size_t node, std::size_t stage) {
    return 1 / static_cast<double>(visit_us(instance, node, static_cast<std::uint32_t>(stage)));
  }

  // Nodes hold their stages for all of the job, placed as suits the skip ratio of most of its steps.
  std::size_t longest_phase() const {
    std::size_t longest = 0;
    std::int64_t most = 0;
    for (std::size_t i = 0; i < phases_.size(); ++i) {
      const std::int64_t end = i + 1 < phases_.size() ? phases_[i + 1].from_step : job_.steps + 1;
      const std::int64_t count = std::min(end, job_.steps + 1) - phases_[i].from_step;
      if (count <= most) continue;
      longest = i;
      most = count;
    }
    return longest;
  }
  double ratio() const { return phases_[longest_].ratio; }

  // Routes of another skip ratio on nodes that hold what they hold.
  Result<Found> find_kept(const Found& placed, double skip_ratio, std::uint64_t work,
                          const PlanMachine& machine) const {
    Instance instance = placed.instance;
    instance.stages_per_path = stages_per_path(instance.stages, skip_ratio);
    go_around(job_, instance);
    instance.stage_of = placed.plan.stage_of;
    return find(std::move(instance), std::nullopt, work, machine);
  }

  Result<Found> find_from_filled(std::uint64_t work, const PlanMachine& machine) const {
    const PlacementRoom room(job_, nodes_);
    Instance instance = placement_instance(job_, ratio(), nodes_, {});
    const auto filled = room.fill(instance);
    if (room.averaging_is_tight()) {
      std::vector<std::uint32_t> sizes;
      for (const auto& nodes : filled) sizes.push_back(static_cast<std::uint32_t>(nodes.size()));
      instance = placement_instance(job_, ratio(), nodes_, sizes);
    }
    if (Status status = check_feasible(instance); !status.ok()) return status;
    const Result<StageSets> sets = choose_stage_sets(instance);
    if (!sets.ok()) return sets.status();
    PathPlan start;
    start.stage_of.resize(nodes_.size());
    for (std::uint32_t s = 0; s < stages_; ++s)
      for (const std::size_t node : filled[s]) start.stage_of[node] = {s};
    for (std::size_t n = 0; n < nodes_.size(); ++n)
      start.slots.push_back(instance.slots_with(n, start.stage_of[n]));
    for (std::uint32_t m = 0; m < instance.microbatches; ++m) {
      start.paths.push_back({m, {}});
      for (const std::uint32_t s : sets.value()[m]) start.paths.back().hops.push_back({s, 0});
    }
    deal_out_evenly(instance, start);
    return find(std::move(instance), std::move(start), work, machine);
  }

  Result<Found> find(Instance instance, std::optional<PathPlan> start, std::uint64_t work,
                     const PlanMachine& machine) const {
    PlanOptions options;
    options.seed = job_.seed == 0 ? 1 : job_.seed;
    options.work = std::max<std::uint64_t>(work, 1);
    options.start = std::move(start);
    options.horizon_steps = 1e18;  // nobody holds weights yet: to move them costs nothing
    Result<PlanResult> result = make_plan(instance, options, machine);
    if (!result.ok()) return result.status();
    Found found{std::move(instance), std::move(result.value().plan), 0};
    if (!found.instance.placement_fixed()) leave_out_idle(found.plan);
    found.step_us = evaluate(found.instance, found.plan).step_us;
    take_turns(found);
    return found;
  }

  // A replica that adds nothing to a step would only make its average slower. A stage that no microbatch
  // visits keeps one node.
  void leave_out_idle(PathPlan& plan) const {
    std::vector<char> visited(plan.stage_of.size(), 0), kept(stages_, 0);
    for (const Path& path : plan.paths)
      for (const PathHop& hop : path.hops) visited[hop.node] = kept[hop.stage] = 1;
    for (std::size_t n = 0; n < visited.size(); ++n) {
      if (visited[n] != 0) continue;
      auto& held = plan.stage_of[n];
      std::erase_if(held, [&](std::uint32_t stage) { return std::exchange(kept[stage], 1) != 0; });
    }
  }

  // Where no node waits for it, the planner leaves it to chance who computes what. Dealt out evenly a plan is
  // as good, and better where nodes are not just as fast as they measured.
  static void take_turns(Found& found) {
    constexpr double noise = 1.01;
    PathPlan even = found.plan;
    deal_out_evenly(found.instance, even);
    const Evaluation evaluation = evaluate(found.instance, even);
    if (!evaluation.finishes ||
        static_cast<double>(evaluation.step_us) > noise * static_cast<double>(found.step_us))
      return;
    found.plan = std::move(even);
    found.step_us = evaluation.step_us;
  }

  // Each visit of a route goes to one of the nodes that hold its stage.
  static void deal_out_evenly(const Instance& instance, PathPlan& plan) {
    for (std::uint32_t s = 0; s < instance.stages; ++s) {
      std::vector<PathHop*> hops;
      for (Path& path : plan.paths)
        for (PathHop& hop : path.hops)
          if (hop.stage == s) hops.push_back(&hop);
      if (hops.empty()) continue;
      const std::vector<std::size_t> nodes = held_by(plan.stage_of, s);
      const std::vector<std::size_t> order = turns(instance, nodes, s, hops.size());
      for (std::size_t i = 0; i < hops.size(); ++i)
        hops[i]->node = static_cast<std::uint32_t>(nodes[order[i]]);
    }
  }

  static std::vector<std::size_t> held_by(const StagesByIndex& held, std::uint32_t stage) {
    std::vector<std::size_t> nodes;
    for (std::size_t n = 0; n < held.size(); ++n)
      if (has_stage(held[n], stage)) nodes.push_back(n);
    return nodes;
  }

  // By index in `nodes`, for each visit of the stage.
  static std::vector<std::size_t> turns(const Instance& instance, const std::vector<std::size_t>& nodes,
                                        std::size_t stage, std::size_t visits) {
    std::vector<double> speeds;
    for (const std::size_t node : nodes) speeds.push_back(rate(instance, node, stage));
    return deal_out(speeds, visits);
  }

  // For the node or for a slot of it.
  static std::int64_t longest_wait_us(const Found& found) {
    std::int64_t longest_us = 0;
    for (const TaskTime& task : evaluate(found.instance, found.plan).tasks)
      if (task.kind == TaskKind::forward && task.stage != 0)
        longest_us = std::max(longest_us, task.begin_us - task.ready_us);
    return longest_us;
  }

  // `found` has one plan a phase, on one placement.
  Plan translate(const std::vector<Found>& found, std::uint64_t epoch) const {
    Plan plan;
    plan.epoch = epoch;
    const Found& placed = found[longest_];
    for (std::uint32_t s = 0; s < stages_; ++s)
      if (placed.instance.stage_out[s] != 0) plan.stages_out.push_back(s);
    for (std::size_t n = 0; n < nodes_.size(); ++n) {
      const std::vector<std::uint32_t>& stages = placed.plan.stage_of[n];
      if (stages.empty()) continue;
      plan.stages_of[nodes_[n]->key] = stages;
      plan.slots_of[nodes_[n]->key] = placed.plan.slots[n];
      // Of a node with several stages; a forward that finds none there is computed again at its backward.
      const auto most =
          static_cast<std::uint32_t>(job_.pipeline.slots) * static_cast<std::uint32_t>(stages.size());
      if (stages.size() > 1 && stages.front() != 0)
        plan.slots_of[nodes_[n]->key] = std::min(placed.plan.slots[n], most);
    }
    for (std::size_t i = 0; i < phases_.size(); ++i) {
      PlanPhase& phase = plan.phases.emplace_back();
      phase.from_step = static_cast<std::uint64_t>(phases_[i].from_step);
      phase.predicted_step_us = found[i].step_us;
      phase.planned_wait_us = longest_wait_us(found[i]);
      for (const Path& path : found[i].plan.paths) {
        PlannedRoute& route = phase.routes.emplace_back();
        route.microbatch = path.microbatch;
        for (const PathHop& hop : path.hops) route.hops.push_back({hop.stage, nodes_[hop.node]->key});
      }
    }
    if (job_.validation.every > 0) plan.evaluations = evaluations(placed);
    return plan;
  }

  std::vector<PlannedRoute> evaluations(const Found& found) const {
    const StageSets sets = evaluation_sets(job_, found.instance.stage_out);
    std::vector<PlannedRoute> routes(sets.size());
    std::vector<std::vector<net::Hop*>> visits(stages_);
    for (std::size_t m = 0; m < sets.size(); ++m) {
      routes[m].microbatch = static_cast<std::uint32_t>(m);
      for (const std::uint32_t stage : sets[m]) routes[m].hops.push_back({stage, {}});
      for (net::Hop& hop : routes[m].hops) visits[hop.stage].push_back(&hop);
    }
    for (std::uint32_t s = 0; s < stages_; ++s) {
      if (visits[s].empty()) continue;
      const std::vector<std::size_t> nodes = held_by(found.plan.stage_of, s);
      const std::vector<std::size_t> order = turns(found.instance, nodes, s, visits[s].size());
      for (std::size_t i = 0; i < visits[s].size(); ++i) visits[s][i]->node = nodes_[nodes[order[i]]]->key;
    }
    return routes;
  }

  const JobSpec& job_;
  std::size_t stages_;
  std::vector<SkipPhase> phases_;
  std::size_t longest_;
  std::vector<const PlacementNode*> nodes_;  // that can take part, in key order
  std::vector<std::string> problems_;        // of those that cannot
};

}  // namespace

Status check_memory(const JobSpec& job, const std::vector<PlacementNode>& nodes) {
  return Placement(job, nodes).check_memory();
}

Result<Plan> place(const PlacementRequest& request, const PlanMachine& machine) {
  const Placement placement(request.job, request.nodes);
  if (!request.stages_of.empty()) return placement.plan_kept(request, machine);
  if (Status status = placement.check(); !status.ok()) return status;
  if (!request.job.pipeline.plan.is_null()) return placement.plan_given(request);
  return placement.plan(request, machine);
}

}  // namespace sidestep::scheduler

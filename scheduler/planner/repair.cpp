// After a change: the plan that was, made to fit the instance that is. As little as possible changes: nodes
// stay where they are, hops at nodes that are still there stay, the rest goes to the nearest replica with the
// least to do.
#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "scheduler/planner/construct.h"
#include "scheduler/planner/draft.h"
#include "scheduler/planner/planner.h"
#include "scheduler/planner/rules.h"

namespace sidestep::scheduler {
namespace {

class Repair {
 public:
  Repair(const Instance& instance, const Instance& before, const PathPlan& start)
      : instance_(instance), start_(start), draft_(instance, instance.microbatches) {
    std::map<std::string, std::size_t> ids;
    for (std::size_t n = 0; n < instance.node_count(); ++n) ids[instance.nodes[n].id] = n;
    for (const InstanceNode& node : before.nodes) {
      const auto found = ids.find(node.id);
      now_.push_back(found == ids.end() ? gone : found->second);
    }
  }

  Result<Draft> run() {
    if (Status status = place(); !status.ok()) return status;
    Result<StageSets> sets = stage_sets();
    if (!sets.ok()) return sets.status();
    route(sets.value());
    return draft_;
  }

 private:
  static constexpr std::size_t gone = ~std::size_t{0};

  // ---- who holds what
  Status place() {
    if (instance_.placement_fixed())
      return place_stages(instance_, stage_demand(instance_), Neighbours::stages, draft_);
    std::size_t dropped = 0;  // nodes that do less than they did
    for (std::size_t n = 0; n < start_.stage_of.size(); ++n) {
      if (now_[n] == gone) {
        dropped += start_.stage_of[n].empty() ? 0 : 1;
        continue;
      }
      // Sizes count those that may be visited, as in a plan made anew.
      if (!instance_.stage_sizes.empty() && instance_.nodes[now_[n]].draining) continue;
      for (const std::uint32_t stage : start_.stage_of[n]) {
        if (stage >= instance_.stages || !instance_.may_hold(now_[n], stage)) continue;
        draft_.hold(now_[n], stage);
        if (instance_.slots_with(now_[n], draft_.held[now_[n]]) == 0) draft_.release(now_[n], stage);
      }
    }
    for (std::uint32_t stage = 0; stage < instance_.stages; ++stage)
      while (instance_.stage_out[stage] == 0 && lacks(stage)) {
        const std::optional<std::size_t> node = giver(stage);
        if (!node)
          return Status::refused("stage " + std::to_string(stage) +
                                 ": no node is left that may hold it: add a node, or raise max_stages");
        const std::vector<std::uint32_t> old = draft_.held[*node];
        std::vector<std::uint32_t> both = old;
        both.push_back(stage);
        if (both.size() > instance_.nodes[*node].max_stages || instance_.slots_with(*node, both) == 0) {
          for (const std::uint32_t left : old) draft_.release(*node, left);
        }
        draft_.hold(*node, stage);
      }
    if (!instance_.stage_sizes.empty()) return {};
    // Who came anew, or has lost its stage, goes where a node has most to do; so do spare nodes, one for each
    // that is gone.
    for (std::size_t n = 0; n < instance_.node_count(); ++n) {
      if (!draft_.held[n].empty() || instance_.nodes[n].draining) continue;
      if (was_idle(n) && dropped == 0) continue;
      dropped -= was_idle(n) ? 1 : 0;
      settle(n);
    }
    return {};
  }
  bool was_idle(std::size_t node) const {
    const auto before = std::find(now_.begin(), now_.end(), node);
    return before != now_.end() && start_.stage_of[static_cast<std::size_t>(before - now_.begin())].empty();
  }

  std::size_t usable(std::uint32_t stage) const {
    return static_cast<std::size_t>(
        std::count_if(draft_.holders[stage].begin(), draft_.holders[stage].end(),
                      [&](std::uint32_t node) { return !instance_.nodes[node].draining; }));
  }
  bool lacks(std::uint32_t stage) const {
    return usable(stage) == 0 ||
           (!instance_.stage_sizes.empty() && draft_.holders[stage].size() < instance_.stage_sizes[stage]);
  }
  // A node for the stage: one that holds nothing, else one of a stage with replicas to spare, else one with
  // room.
  std::optional<std::size_t> giver(std::uint32_t stage) const {
    std::optional<std::size_t> best;
    std::size_t best_rank = 0;
    for (std::size_t n = 0; n < instance_.node_count(); ++n) {
      const auto& held = draft_.held[n];
      if (instance_.nodes[n].draining || !instance_.may_hold(n, stage) ||
          std::find(held.begin(), held.end(), stage) != held.end())
        continue;
      std::vector<std::uint32_t> both = held;
      both.push_back(stage);
      std::size_t rank = 0;
      if (held.empty()) {
        rank = 1'000'000;
      } else if (held.size() == 1 && spares(held[0])) {
        rank = 1'000 + usable(held[0]);
      } else if (held.size() < instance_.nodes[n].max_stages && instance_.slots_with(n, both) > 0) {
        rank = 1;
      }
      if (rank > best_rank) {
        best = n;
        best_rank = rank;
      }
    }
    return best;
  }
  bool spares(std::uint32_t stage) const {
    if (!instance_.stage_sizes.empty()) return draft_.holders[stage].size() > instance_.stage_sizes[stage];
    return usable(stage) > 1;
  }
  void settle(std::size_t node) {
    const std::vector<std::uint32_t> targets = visit_targets(instance_);
    std::uint32_t best = instance_.stages;
    double most = 0;
    for (std::uint32_t stage = 0; stage < instance_.stages; ++stage) {
      if (!instance_.may_hold(node, stage) || (stage == 0 && instance_.microbatches_per_origin != 0))
        continue;
      const double visits = static_cast<double>(targets[stage]) / static_cast<double>(usable(stage) + 1);
      if (visits <= most) continue;
      best = stage;
      most = visits;
    }
    if (best < instance_.stages) draft_.hold(node, best);
  }

  // ---- which stages
  // The sets that were, where they still keep the rules; else new ones.
  Result<StageSets> stage_sets() const {
    StageSets sets;
    for (const Path& path : start_.paths) {
      if (sets.size() == draft_.rows) break;
      std::vector<std::uint32_t>& route = sets.emplace_back();
      for (const PathHop& hop : path.hops) route.push_back(hop.stage);
      if (route.size() != draft_.length || !order_allowed(instance_, route.data(), route.size())) {
        sets.clear();
        break;
      }
    }
    if (sets.size() == draft_.rows && visits_kept(sets)) return sets;
    return choose_stage_sets(instance_);
  }
  bool visits_kept(const StageSets& sets) const {
    std::vector<std::uint32_t> visits(instance_.stages, 0);
    for (const auto& route : sets)
      for (const std::uint32_t stage : route) ++visits[stage];
    for (std::uint32_t stage = 1; stage < instance_.stages; ++stage)
      if (instance_.stage_out[stage] == 0 &&
          (visits[stage] < instance_.min_visits[stage] || visits[stage] > instance_.max_visits[stage]))
        return false;
    return true;
  }

  // ---- which nodes
  void route(const StageSets& sets) {
    const std::vector<std::uint32_t> origins = deal_origins();
    std::vector<std::int64_t> load_us(instance_.node_count(), 0);
    std::vector<std::size_t> open;
    for (std::size_t r = 0; r < draft_.rows; ++r) {
      draft_.row(r)[0] = {0, origins[r]};
      if (!keep(r, sets[r])) open.push_back(r);
    }
    for (const std::size_t r : open)
      std::fill(draft_.row(r) + 1, draft_.row(r) + draft_.length, draft_.row(r)[0]);
    // What the rows that stay have to do comes first.
    Draft kept = draft_;
    for (std::size_t i = open.size(); i-- > 0;)
      kept.hops.erase(kept.hops.begin() + static_cast<std::ptrdiff_t>(open[i] * kept.length),
                      kept.hops.begin() + static_cast<std::ptrdiff_t>((open[i] + 1) * kept.length));
    load_us = loads_us(instance_, kept);
    for (const std::size_t r : open) choose_nodes_of_row(instance_, sets[r], r, load_us, draft_);
  }
  // The row as it was, if all its nodes still do what they did.
  bool keep(std::size_t row, const std::vector<std::uint32_t>& route) {
    if (row >= start_.paths.size() || start_.paths[row].hops.size() != route.size()) return false;
    const auto& hops = start_.paths[row].hops;
    PathHop* const mine = draft_.row(row);
    for (std::size_t i = 0; i < route.size(); ++i) {
      const std::size_t node = now_[hops[i].node];
      if (hops[i].stage != route[i] || node == gone || instance_.nodes[node].draining) return false;
      const auto& held = draft_.held[node];
      if (std::find(held.begin(), held.end(), route[i]) == held.end()) return false;
      if (i == 0 && instance_.microbatches_per_origin != 0 && mine[0].node != node) return false;
      mine[i] = {route[i], static_cast<std::uint32_t>(node)};
    }
    return true;
  }
  // Where each origin has its number, rows stay at theirs as far as that number goes; else it is a first
  // guess.
  std::vector<std::uint32_t> deal_origins() const {
    std::vector<std::uint32_t> usable = draft_.holders[0];
    std::erase_if(usable, [&](std::uint32_t node) { return instance_.nodes[node].draining; });
    std::map<std::uint32_t, std::uint32_t> left;
    for (const std::uint32_t node : usable)
      left[node] =
          instance_.microbatches_per_origin == 0 ? instance_.microbatches : instance_.microbatches_per_origin;
    std::vector<std::uint32_t> origins(draft_.rows, usable.front());
    std::vector<std::size_t> open;
    for (std::size_t r = 0; r < draft_.rows; ++r) {
      const std::size_t was = r < start_.paths.size() ? now_[start_.paths[r].hops[0].node] : gone;
      const auto found = was == gone ? left.end() : left.find(static_cast<std::uint32_t>(was));
      if (found == left.end() || found->second == 0) {
        open.push_back(r);
        continue;
      }
      origins[r] = found->first;
      --found->second;
    }
    std::size_t turn = 0;
    for (const std::size_t r : open) {
      for (std::size_t i = 0; i < usable.size() && left[usable[turn % usable.size()]] == 0; ++i) ++turn;
      origins[r] = usable[turn % usable.size()];
      if (left[origins[r]] > 0) --left[origins[r]];
      ++turn;
    }
    return origins;
  }

  const Instance& instance_;
  const PathPlan& start_;
  Draft draft_;
  std::vector<std::size_t> now_;  // index of each node of before, or gone
};

}  // namespace

Result<PathPlan> repair(const Instance& instance, const Instance& before, const PathPlan& start) {
  if (Status status = check_feasible(instance); !status.ok()) return status;
  const Instance visited = without_drained_stages(instance);
  Result<Draft> draft = Repair(visited, before, start).run();
  if (!draft.ok()) return draft.status();
  PathPlan plan = draft.value().plan(instance);
  if (broken_rules(visited, plan).empty()) return plan;
  // Routes that were cannot be kept: new ones on the nodes as they are now.
  Instance placed = visited;
  placed.stage_of = plan.stage_of;
  draft = construct(placed);
  if (!draft.ok()) return draft.status();
  return draft.value().plan(instance);
}

}  // namespace sidestep::scheduler

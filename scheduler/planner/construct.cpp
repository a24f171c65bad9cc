#include "scheduler/planner/construct.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>

#include "scheduler/planner/dispatch.h"
#include "scheduler/planner/evaluator.h"
#include "scheduler/planner/step_engine.h"

namespace sidestep::scheduler {

std::int64_t both_ways_us(const Instance& instance, std::size_t a, std::size_t b) {
  if (a == b) return 0;
  const std::int32_t there = instance.transfer(a, b), back = instance.transfer(b, a);
  if (there == Instance::no_link || back == Instance::no_link) return 4 * Instance::time_us_max;
  return std::int64_t{there} + back;
}

std::int64_t visit_us(const Instance& instance, std::size_t node, std::uint32_t stage) {
  const InstanceNode& machine = instance.nodes[node];
  const std::int64_t head = stage == 0 ? machine.head_us + instance.task_gap_us : 0;
  return machine.forward_us[stage] + machine.backward_us[stage] + 2 * instance.task_gap_us + head;
}

void choose_nodes_of_row(const Instance& instance, const std::vector<std::uint32_t>& stages, std::size_t row,
                         std::vector<std::int64_t>& load_us, Draft& draft) {
  // A shortest way through the layers of holders, from an origin and back to it; a node costs what it has to
  // do already, as a microbatch would wait for that.
  const std::size_t length = stages.size();
  PathHop* const hops = draft.row(row);
  const auto usable = [&](std::uint32_t node) { return !instance.nodes[node].draining; };
  std::vector<std::uint32_t> origins{hops[0].node};
  if (instance.microbatches_per_origin == 0) {
    // Of many, those with the least to do are enough to look at.
    constexpr std::size_t origins_max = 6;
    origins = draft.holders[0];
    std::erase_if(origins, [&](std::uint32_t node) { return !usable(node); });
    std::stable_sort(origins.begin(), origins.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return load_us[a] < load_us[b]; });
    origins.resize(std::min(origins.size(), origins_max));
  }
  std::int64_t best = std::numeric_limits<std::int64_t>::max();
  std::vector<std::vector<std::int64_t>> cost(length);
  std::vector<std::vector<std::size_t>> from(length);
  std::vector<PathHop> found(length);
  for (const std::uint32_t origin : origins) {
    cost[0] = {load_us[origin] + visit_us(instance, origin, 0)};
    const std::vector<std::uint32_t> first{origin};
    for (std::size_t i = 1; i < length; ++i) {
      const auto& before = i == 1 ? first : draft.holders[stages[i - 1]];
      const auto& here = draft.holders[stages[i]];
      cost[i].assign(here.size(), std::numeric_limits<std::int64_t>::max());
      from[i].assign(here.size(), 0);
      for (std::size_t k = 0; k < here.size(); ++k) {
        if (!usable(here[k])) continue;
        const std::int64_t own = load_us[here[k]] + visit_us(instance, here[k], stages[i]) +
                                 (i + 1 == length ? both_ways_us(instance, here[k], origin) : 0);
        for (std::size_t j = 0; j < before.size(); ++j) {
          if (cost[i - 1][j] == std::numeric_limits<std::int64_t>::max()) continue;
          const std::int64_t sum = cost[i - 1][j] + both_ways_us(instance, before[j], here[k]) + own;
          if (sum < cost[i][k]) {
            cost[i][k] = sum;
            from[i][k] = j;
          }
        }
      }
    }
    const auto last = std::min_element(cost[length - 1].begin(), cost[length - 1].end());
    if (*last >= best) continue;
    best = *last;
    auto k = static_cast<std::size_t>(last - cost[length - 1].begin());
    for (std::size_t i = length; i-- > 1; k = from[i][k]) found[i] = {stages[i], draft.holders[stages[i]][k]};
    found[0] = {0, origin};
  }
  std::copy(found.begin(), found.end(), hops);
  for (std::size_t i = 0; i < length; ++i)
    load_us[hops[i].node] += visit_us(instance, hops[i].node, stages[i]);
}

std::vector<std::int64_t> loads_us(const Instance& instance, const Draft& draft) {
  std::vector<std::int64_t> load_us(instance.node_count(), 0);
  for (const PathHop& hop : draft.hops) load_us[hop.node] += visit_us(instance, hop.node, hop.stage);
  return load_us;
}

namespace {

struct Tried {
  std::int64_t step_us = 0;
  std::vector<double> demand;  // as it was seen, by stage: see stage_demand
};

Tried try_draft(const Instance& instance, const Draft& draft,
                const std::vector<std::int64_t>& after_us = {}) {
  StepEngine engine(instance, draft.rows, draft.length);
  engine.set_after(after_us.empty() ? averaging_us(instance, draft.held) : after_us);
  std::vector<double> slots(instance.node_count(), 1);
  for (std::size_t n = 0; n < instance.node_count(); ++n) {
    const std::uint32_t count = instance.slots_with(n, draft.held[n]);
    engine.set_slots(n, count);
    slots[n] = std::max(count, 1u);
  }
  for (std::size_t r = 0; r < draft.rows; ++r) engine.set_row(r, draft.row(r), draft.length);
  std::vector<std::int64_t> began_us(draft.hops.size(), 0);
  std::vector<double> busy(instance.stages, 0), kept(instance.stages, 0);
  Tried tried;
  tried.step_us = engine.run(StepEngine::never, [&](std::size_t row, std::size_t index, std::int64_t,
                                                    std::int64_t begin, std::int64_t end) {
    const StepEngine::Task& task = engine.task(row, index);
    busy[task.stage] += static_cast<double>(end - begin + instance.task_gap_us);
    if (task.kind == TaskKind::forward) began_us[row * draft.length + index] = begin;
    if (task.kind == TaskKind::backward)
      kept[task.stage] += static_cast<double>(end - began_us[row * draft.length + 2 * draft.length - index]) /
                          slots[task.node];
  });
  for (std::uint32_t stage = 0; stage < instance.stages; ++stage)
    tried.demand.push_back(std::max(busy[stage], kept[stage]));
  return tried;
}

}  // namespace

std::int64_t step_us(const Instance& instance, const Draft& draft,
                     const std::vector<std::int64_t>& after_us) {
  return try_draft(instance, draft, after_us).step_us;
}

namespace {

struct Best {
  std::optional<Draft> draft;
  std::int64_t step_us = 0;
};

// With nodes by the demand that was seen the time before, where sizes are free. Errors: nobody is left to
// hold a stage, and nothing was found before.
Status try_placements(const Instance& instance, const StageSets& sets, Neighbours neighbours, Best& best) {
  const bool sizes_free = !instance.placement_fixed() && instance.stage_sizes.empty();
  // Where origins let in a little less than the other stages can take, microbatches wait at their origin and
  // not on the way, where they hold slots.
  constexpr std::array<double, 3> throttles{1.25, 1.5, 1.1};
  constexpr int tries = 6;
  constexpr std::size_t many_hops = 1000;
  for (const double throttle : throttles) {
    std::vector<double> demand = stage_demand(instance);
    for (int i = 0; i < tries; ++i) {
      Draft draft(instance, sets.size());
      if (Status status = place_stages(instance, demand, neighbours, draft); !status.ok())
        return best.draft ? Status() : status;
      dispatch(instance, sets, draft);
      const std::size_t hops = draft.hops.size();
      Tried tried = try_draft(instance, draft);
      if (!best.draft || tried.step_us < best.step_us) best = {std::move(draft), tried.step_us};
      if (!sizes_free || (i + 1 == tries && hops > many_hops)) return {};
      demand = std::move(tried.demand);
      demand[0] /= throttle;
    }
  }
  return {};
}

}  // namespace

Result<Draft> construct(const Instance& instance, const StageSets& sets) {
  Best best;
  if (Status status = try_placements(instance, sets, Neighbours::stages, best); !status.ok()) return status;
  return *std::move(best.draft);
}

Result<Draft> construct(const Instance& instance) {
  Result<StageSets> sets = choose_stage_sets(instance);
  if (!sets.ok()) return sets.status();
  return construct(instance, sets.value());
}

Result<std::vector<Draft>> construct_each(const Instance& instance) {
  const Result<StageSets> sets = choose_stage_sets(instance);
  if (!sets.ok()) return sets.status();
  Best by_stages, by_replicas;
  if (Status status = try_placements(instance, sets.value(), Neighbours::stages, by_stages); !status.ok())
    return status;
  std::vector<Draft> drafts{*std::move(by_stages.draft)};
  if (!instance.counts_averaging() || instance.placement_fixed()) return drafts;
  if (!try_placements(instance, sets.value(), Neighbours::replicas, by_replicas).ok()) return drafts;
  drafts.push_back(*std::move(by_replicas.draft));
  if (by_replicas.step_us < by_stages.step_us) std::swap(drafts[0], drafts[1]);
  return drafts;
}

}  // namespace sidestep::scheduler

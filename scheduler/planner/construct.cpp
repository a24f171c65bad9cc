#include "scheduler/planner/construct.h"

#include <algorithm>
#include <limits>

#include "net/assert.h"
#include "scheduler/planner/rules.h"

namespace sidestep::scheduler {
namespace {

// Nodes of each stage for a free placement: as many as its share of the work asks for.
std::vector<std::uint32_t> choose_sizes(const Instance& instance, std::size_t nodes) {
  if (!instance.stage_sizes.empty()) return instance.stage_sizes;
  const std::vector<std::uint32_t> targets = visit_targets(instance);
  std::vector<double> work(instance.stages, 0);
  double whole = 0;
  for (std::uint32_t stage = 0; stage < instance.stages; ++stage) {
    if (instance.stage_out[stage] != 0) continue;
    for (std::size_t n = 0; n < instance.node_count(); ++n)
      work[stage] += static_cast<double>(visit_us(instance, n, stage));
    work[stage] *= std::max(1.0, static_cast<double>(targets[stage]));
    whole += work[stage];
  }
  std::vector<std::uint32_t> most(instance.stages, 0), sizes(instance.stages, 0);
  std::size_t given = 0;
  for (std::uint32_t stage = 0; stage < instance.stages; ++stage) {
    for (std::size_t n = 0; n < instance.node_count(); ++n)
      if (!instance.nodes[n].draining && instance.may_hold(n, stage)) ++most[stage];
    // More replicas than visits would idle.
    most[stage] = std::min(most[stage], std::max(1u, targets[stage]));
    if (instance.stage_out[stage] == 0) given += sizes[stage] = 1;
  }
  for (; given < nodes; ++given) {
    std::uint32_t best = instance.stages;
    double best_need = 0;
    for (std::uint32_t stage = 0; stage < instance.stages; ++stage) {
      if (sizes[stage] >= most[stage]) continue;
      const double need = work[stage] / whole / sizes[stage];
      if (best == instance.stages || need > best_need) {
        best = stage;
        best_need = need;
      }
    }
    if (best == instance.stages) break;
    ++sizes[best];
  }
  return sizes;
}

// Always on to the nearest node not yet seen: neighbours on the tour get neighbouring stages.
std::vector<std::size_t> tour(const Instance& instance) {
  std::vector<std::size_t> open, order;
  for (std::size_t n = 0; n < instance.node_count(); ++n)
    if (!instance.nodes[n].draining) open.push_back(n);
  while (!open.empty()) {
    const auto nearest =
        order.empty()
            ? open.begin()
            : std::min_element(open.begin(), open.end(), [&](std::size_t a, std::size_t b) {
                return both_ways_us(instance, order.back(), a) < both_ways_us(instance, order.back(), b);
              });
    order.push_back(*nearest);
    open.erase(nearest);
  }
  return order;
}

// Kuhn's augmenting paths: nodes to stages with as many places as their sizes.
class Matching {
 public:
  Matching(const Instance& instance, const std::vector<std::uint32_t>& sizes)
      : instance_(instance), sizes_(sizes), nodes_(instance.stages) {}

  // Finds a place for the node, first at `wanted` and the stages that follow it, moving others where it must.
  bool add(std::size_t node, std::uint32_t wanted) {
    seen_.assign(instance_.stages, 0);
    for (std::uint32_t i = 0; i < instance_.stages; ++i) {
      const std::uint32_t stage = (wanted + i) % instance_.stages;
      if (nodes_[stage].size() < sizes_[stage] && instance_.may_hold(node, stage)) {
        nodes_[stage].push_back(node);
        last_ = stage;
        return true;
      }
    }
    return augment(node);
  }
  std::uint32_t last() const { return last_; }  // where the latest node found room without moving others
  const std::vector<std::vector<std::size_t>>& nodes() const { return nodes_; }

 private:
  bool augment(std::size_t node) {
    for (std::uint32_t stage = 0; stage < instance_.stages; ++stage) {
      if (seen_[stage] != 0 || sizes_[stage] == 0 || !instance_.may_hold(node, stage)) continue;
      seen_[stage] = 1;
      if (nodes_[stage].size() < sizes_[stage]) {
        nodes_[stage].push_back(node);
        return true;
      }
      for (std::size_t i = 0; i < nodes_[stage].size(); ++i) {
        if (!augment(nodes_[stage][i])) continue;
        nodes_[stage][i] = node;
        return true;
      }
    }
    return false;
  }

  const Instance& instance_;
  const std::vector<std::uint32_t>& sizes_;
  std::vector<std::vector<std::size_t>> nodes_;  // by stage
  std::vector<char> seen_;
  std::uint32_t last_ = 0;
};

// A stage that found no node of its own goes to one that may hold several.
Status double_up(const Instance& instance, Draft& draft, std::uint32_t stage) {
  std::size_t best = instance.node_count();
  for (std::size_t n = 0; n < instance.node_count(); ++n) {
    if (instance.nodes[n].draining || draft.held[n].size() >= instance.nodes[n].max_stages ||
        !instance.may_hold(n, stage) || std::binary_search(draft.held[n].begin(), draft.held[n].end(), stage))
      continue;
    std::vector<std::uint32_t> both = draft.held[n];
    both.push_back(stage);
    if (instance.slots_with(n, both) == 0) continue;
    if (best == instance.node_count() || draft.held[n].size() < draft.held[best].size()) best = n;
  }
  if (best == instance.node_count())
    return Status::refused("stage " + std::to_string(stage) +
                           ": no node is left that may hold it: add a node" +
                           (stage == 0 ? " that can be an origin" : ", or memory, or raise max_stages"));
  draft.hold(best, stage);
  return {};
}

}  // namespace

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

Status place_stages(const Instance& instance, Draft& draft) {
  if (instance.placement_fixed()) {
    for (std::size_t n = 0; n < instance.node_count(); ++n)
      for (const std::uint32_t stage : instance.stage_of[n]) draft.hold(n, stage);
    return {};
  }
  const std::vector<std::size_t> order = tour(instance);
  const std::vector<std::uint32_t> sizes = choose_sizes(instance, order.size());
  Matching matching(instance, sizes);
  std::uint32_t wanted = 0;
  for (const std::size_t node : order)
    if (matching.add(node, wanted)) wanted = (matching.last() + 1) % instance.stages;
  for (std::uint32_t stage = 0; stage < instance.stages; ++stage)
    for (const std::size_t node : matching.nodes()[stage]) draft.hold(node, stage);
  for (std::uint32_t stage = 0; stage < instance.stages; ++stage) {
    if (instance.stage_out[stage] != 0) continue;
    const std::size_t wanted_nodes = instance.stage_sizes.empty() ? 1 : instance.stage_sizes[stage];
    while (draft.holders[stage].size() < wanted_nodes)
      if (Status status = double_up(instance, draft, stage); !status.ok()) return status;
  }
  return {};
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

void choose_nodes(const Instance& instance, const StageSets& sets, Draft& draft) {
  std::vector<std::int64_t> load_us(instance.node_count(), 0);
  std::vector<std::uint32_t> origins = draft.holders[0];
  std::erase_if(origins, [&](std::uint32_t node) { return instance.nodes[node].draining; });
  for (std::size_t r = 0; r < sets.size(); ++r) {
    // Origins take turns where each has its number.
    draft.row(r)[0] = {0, origins[r % origins.size()]};
    choose_nodes_of_row(instance, sets[r], r, load_us, draft);
  }
}

std::vector<std::int64_t> loads_us(const Instance& instance, const Draft& draft) {
  std::vector<std::int64_t> load_us(instance.node_count(), 0);
  for (const PathHop& hop : draft.hops) load_us[hop.node] += visit_us(instance, hop.node, hop.stage);
  return load_us;
}

Result<Draft> construct(const Instance& instance) {
  Result<StageSets> sets = choose_stage_sets(instance);
  if (!sets.ok()) return sets.status();
  Draft draft(instance, instance.microbatches);
  if (Status status = place_stages(instance, draft); !status.ok()) return status;
  choose_nodes(instance, sets.value(), draft);
  return draft;
}

}  // namespace sidestep::scheduler

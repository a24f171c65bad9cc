// Who holds what in a constructed plan.
#include <algorithm>
#include <numeric>

#include "scheduler/planner/construct.h"

namespace sidestep::scheduler {
namespace {

// A transfer there and back between nodes that are near enough to follow each other on a route: the mean over
// each node's nearest, as many as a route has hops.
double near_us(const Instance& instance) {
  const std::size_t count = std::min<std::size_t>(instance.route_length(), instance.node_count() - 1);
  if (count == 0) return 0;
  double sum = 0;
  std::vector<std::int64_t> ways;
  for (std::size_t a = 0; a < instance.node_count(); ++a) {
    ways.clear();
    for (std::size_t b = 0; b < instance.node_count(); ++b)
      if (a != b) ways.push_back(both_ways_us(instance, a, b));
    std::nth_element(ways.begin(), ways.begin() + static_cast<std::ptrdiff_t>(count - 1), ways.end());
    sum += std::accumulate(ways.begin(), ways.begin() + static_cast<std::ptrdiff_t>(count), 0.0);
  }
  return sum / static_cast<double>(count * instance.node_count());
}

// Nodes of each stage for a free placement: as many as its demand asks for.
std::vector<std::uint32_t> choose_sizes(const Instance& instance, const std::vector<double>& demand,
                                        std::size_t nodes) {
  if (!instance.stage_sizes.empty()) return instance.stage_sizes;
  const std::vector<std::uint32_t> targets = visit_targets(instance);
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
      const double need = demand[stage] / sizes[stage];
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
  Matching(const Instance& instance, std::vector<std::uint32_t> sizes)
      : instance_(instance), sizes_(std::move(sizes)), nodes_(instance.stages) {}

  void set_sizes(std::vector<std::uint32_t> sizes) { sizes_ = std::move(sizes); }

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
  std::vector<std::uint32_t> sizes_;
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

// How long the visits of each stage keep one node, if nothing waits: computing, or holding the slots. An
// early stage holds a slot while the microbatch is at all that follow.
std::vector<double> stage_demand(const Instance& instance) {
  const std::vector<std::uint32_t> targets = visit_targets(instance);
  const auto nodes = static_cast<double>(instance.node_count());
  std::vector<double> demand(instance.stages, 0);
  double slots = 0;
  for (const InstanceNode& node : instance.nodes) slots += node.slots / nodes;
  const double near = near_us(instance);
  double after = near;  // from the end of a forward to the begin of its backward
  for (std::uint32_t stage = instance.stages; stage-- > 0;) {
    if (instance.stage_out[stage] != 0) continue;
    double busy = 0;
    for (std::size_t n = 0; n < instance.node_count(); ++n)
      busy += static_cast<double>(visit_us(instance, n, stage)) / nodes;
    const double visits = std::max(1.0, static_cast<double>(targets[stage]));
    demand[stage] = visits * std::max(busy, (busy + after) / slots);
    after += (busy + near) * visits / instance.microbatches;
  }
  return demand;
}

Status place_stages(const Instance& instance, const std::vector<double>& demand, Neighbours neighbours,
                    Draft& draft) {
  if (instance.placement_fixed()) {
    for (std::size_t n = 0; n < instance.node_count(); ++n)
      for (const std::uint32_t stage : instance.stage_of[n]) draft.hold(n, stage);
    return {};
  }
  const std::vector<std::size_t> order = tour(instance);
  const std::vector<std::uint32_t> sizes = choose_sizes(instance, demand, order.size());
  std::uint32_t wanted = 0;
  Matching matching(instance, sizes);
  const auto add = [&](std::size_t node) {
    if (!matching.add(node, wanted)) return false;
    wanted = matching.last();
    if (neighbours == Neighbours::stages) wanted = (wanted + 1) % instance.stages;
    return true;
  };
  std::vector<std::size_t> left = order;
  if (neighbours == Neighbours::stages) {
    // A node for each stage first, so that none goes without where there is a way.
    std::vector<std::uint32_t> ones = sizes;
    for (std::uint32_t& size : ones) size = std::min(size, 1u);
    matching.set_sizes(ones);
    std::erase_if(left, add);
    matching.set_sizes(sizes);
  }
  for (const std::size_t node : left) add(node);
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

}  // namespace sidestep::scheduler

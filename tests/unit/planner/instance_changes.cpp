#include "tests/unit/planner/instance_changes.h"

#include <algorithm>

#include "scheduler/planner/visit_share.h"

namespace sidestep::scheduler::testing {
namespace {

bool starts_microbatches(const Instance& instance, const PathPlan& plan, std::size_t node) {
  const auto& held = plan.stage_of[node];
  return !held.empty() && held.front() == 0 && !instance.nodes[node].draining;
}

// One origin fewer; where each has its number, the step has fewer microbatches.
void lose_origin(Instance& instance) {
  if (instance.microbatches_per_origin == 0 || instance.microbatches == instance.microbatches_per_origin)
    return;
  instance.microbatches -= instance.microbatches_per_origin;
  instance.min_swap_share = 0;
  free_visits(instance);
}

template <class Value>
std::vector<Value> without(const std::vector<Value>& matrix, std::size_t nodes, std::size_t node) {
  std::vector<Value> smaller;
  for (std::size_t i = 0; i < matrix.size(); ++i)
    if (i / nodes != node && i % nodes != node) smaller.push_back(matrix[i]);
  return smaller;
}

template <class Value>
std::vector<Value> with_copy(const std::vector<Value>& matrix, std::size_t nodes, std::size_t like,
                             Value between) {
  std::vector<Value> larger;
  if (matrix.empty()) return larger;
  for (std::size_t from = 0; from <= nodes; ++from)
    for (std::size_t to = 0; to <= nodes; ++to) {
      const std::size_t a = from < nodes ? from : like, b = to < nodes ? to : like;
      larger.push_back(from != to && a == b ? between : matrix[a * nodes + b]);
    }
  return larger;
}

}  // namespace

Instance without_node(const Instance& before, const PathPlan& plan, std::size_t node) {
  Instance after = before;
  const std::size_t nodes = before.node_count();
  const auto at = static_cast<std::ptrdiff_t>(node);
  if (starts_microbatches(before, plan, node)) lose_origin(after);
  after.nodes.erase(after.nodes.begin() + at);
  if (after.placement_fixed()) after.stage_of.erase(after.stage_of.begin() + at);
  after.transfer_us = without(before.transfer_us, nodes, node);
  after.latency_us = without(before.latency_us, nodes, node);
  after.bandwidth = without(before.bandwidth, nodes, node);
  if (!after.stage_sizes.empty())
    for (const std::uint32_t stage : plan.stage_of[node])
      after.stage_sizes[stage] = std::max(1u, after.stage_sizes[stage] - 1);
  return after;
}

Instance with_node_like(const Instance& before, std::size_t like) {
  Instance after = before;
  const std::size_t nodes = before.node_count();
  after.nodes.push_back(before.nodes[like]);
  after.nodes.back().id = "new";
  after.nodes.back().draining = false;
  if (after.placement_fixed()) after.stage_of.emplace_back();
  after.transfer_us = with_copy(before.transfer_us, nodes, like, std::int32_t{10});
  after.latency_us = with_copy(before.latency_us, nodes, like, std::int64_t{10});
  after.bandwidth = with_copy(before.bandwidth, nodes, like, 1e7);
  return after;
}

Instance with_draining(const Instance& before, const PathPlan& plan, std::size_t node) {
  Instance after = before;
  // Where it is free to choose, another node becomes an origin.
  if (before.placement_fixed() && starts_microbatches(before, plan, node)) lose_origin(after);
  after.nodes[node].draining = true;
  return after;
}

Instance with_stage_out(const Instance& before, std::uint32_t stage) {
  Instance after = before;
  after.stage_out[stage] = 1;
  for (auto& held : after.stage_of) std::erase(held, stage);
  if (!after.stage_sizes.empty()) after.stage_sizes[stage] = 0;
  after.min_swap_share = 0;
  free_visits(after);
  return after;
}

Instance with_other_costs(const Instance& before, net::Random& random) {
  Instance after = before;
  const auto change = [&](auto& us) {
    us = static_cast<std::remove_reference_t<decltype(us)>>(static_cast<double>(us) *
                                                            (0.5 + 1.5 * random.uniform()));
  };
  for (InstanceNode& node : after.nodes) {
    for (auto* times : {&node.forward_us, &node.backward_us})
      for (std::int64_t& us : *times) {
        change(us);
        us = std::max<std::int64_t>(us, 1);
      }
  }
  for (std::int32_t& us : after.transfer_us)
    if (us != Instance::no_link) change(us);
  return after;
}

}  // namespace sidestep::scheduler::testing

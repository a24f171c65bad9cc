#include "scheduler/placement_instance.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "scheduler/planner/visit_share.h"
#include "scheduler/planner/wan.h"
#include "scheduler/twin_stages.h"

namespace sidestep::scheduler {
namespace {

constexpr std::int64_t assumed_latency_us = 1'000;
constexpr double assumed_bytes_per_s = 125e6;
constexpr std::int64_t forward_part = 3;  // one of so many of a layer's time

// Of a task; figures come from peers.
std::int64_t task_us(std::int64_t count, std::int64_t each_us) {
  return std::clamp<std::int64_t>(count * std::min(each_us, Instance::time_us_max), 1, Instance::time_us_max);
}

InstanceNode instance_node(const JobSpec& job, const PlacementNode& node) {
  InstanceNode result;
  result.id = node.key.hex();
  const std::int64_t forward_us =
      node.layer_forward_us > 0 ? node.layer_forward_us : node.layer_us / forward_part;
  for (std::int64_t stage = 0; stage < job.pipeline.stages; ++stage) {
    const std::int64_t layers = job.layer_count(stage);
    result.forward_us.push_back(task_us(layers, forward_us));
    result.backward_us.push_back(task_us(layers, node.layer_us - forward_us));
  }
  result.head_us = task_us(1, node.head_us);
  result.slots = static_cast<std::uint32_t>(job.pipeline.slots);
  // 0 would be any amount.
  const std::uint64_t bytes = bytes_for_stages(node);
  result.memory_bytes = bytes == PlacementNode::unknown_bytes ? 0 : std::max<std::uint64_t>(bytes, 1);
  result.can_be_origin = node.has_data;
  return result;
}

// Figures come from peers.
void set_links(Instance& instance, const std::vector<const PlacementNode*>& nodes,
               std::uint64_t activation_bytes) {
  const std::size_t pairs = nodes.size() * nodes.size();
  instance.latency_us.assign(pairs, assumed_latency_us);
  instance.bandwidth.assign(pairs, assumed_bytes_per_s);
  std::map<net::NodeKey, std::size_t> places;
  for (std::size_t n = 0; n < nodes.size(); ++n) places[nodes[n]->key] = n;
  for (std::size_t from = 0; from < nodes.size(); ++from)
    for (const net::LinkSpeed& link : nodes[from]->links) {
      const auto to = places.find(link.node);
      if (to == places.end() || !(link.bytes_per_s > 0)) continue;
      instance.latency_us[from * nodes.size() + to->second] =
          std::clamp<std::int64_t>(link.latency_us, 0, Instance::time_us_max);
      instance.bandwidth[from * nodes.size() + to->second] = std::clamp(link.bytes_per_s, 1.0, 1e15);
    }
  for (std::size_t pair = 0; pair < pairs; ++pair) {
    const double us = static_cast<double>(instance.latency_us[pair]) +
                      static_cast<double>(activation_bytes) / instance.bandwidth[pair] * 1e6;
    instance.transfer_us.push_back(
        static_cast<std::int32_t>(std::min(us, static_cast<double>(Instance::time_us_max))));
  }
}

}  // namespace

std::uint64_t bytes_for_stages(const PlacementNode& node) {
  if (node.memory_bytes == PlacementNode::unknown_bytes) return PlacementNode::unknown_bytes;
  return node.memory_bytes - std::min(node.memory_bytes, node.daemon_bytes);
}

std::uint32_t slots_within(const MemoryNeed& need, std::uint64_t bytes) {
  const std::uint64_t without = need.total() - need.activations();
  if (bytes < without) return 0;
  if (need.activations_a_slot == 0) return static_cast<std::uint32_t>(need.slots);
  return static_cast<std::uint32_t>(std::min(need.slots, (bytes - without) / need.activations_a_slot));
}

Instance placement_instance(const JobSpec& job, double skip_ratio,
                            const std::vector<const PlacementNode*>& nodes,
                            const std::vector<std::uint32_t>& sizes) {
  const WanWork work = wan_work(job, skip_ratio);
  Instance instance;
  instance.name = job.name;
  instance.stages = work.stages;
  instance.stages_per_path = work.stages_per_path;
  instance.microbatches = work.microbatches;
  instance.max_swaps = static_cast<std::uint32_t>(job.pipeline.max_swaps);
  instance.max_swap_distance = static_cast<std::uint32_t>(job.pipeline.max_swap_distance);
  if (job.pipeline.max_skip) instance.max_skip = static_cast<std::uint32_t>(*job.pipeline.max_skip);
  if (job.recovery.policy == "checkfree+") instance.min_swap_share = twins_share;
  instance.stage_out.assign(instance.stages, 0);
  share_visits(instance, job.pipeline.weights(), static_cast<std::uint32_t>(job.pipeline.visit_slack));
  instance.stage_sizes = sizes;
  for (const PlacementNode* node : nodes) instance.nodes.push_back(instance_node(job, *node));
  set_links(instance, nodes, work.activation_bytes);
  instance.stage_bytes = work.stage_bytes;
  for (std::uint32_t stage = 0; stage < instance.stages; ++stage) {
    const bool alone = !sizes.empty() && sizes[stage] == 1;
    const MemoryNeed need = memory_need(job, stage, alone ? 1 : 2);
    instance.stage_memory_bytes.push_back(need.total() - need.activations());
    instance.slot_memory_bytes.push_back(need.activations_a_slot);
  }
  return instance;
}

}  // namespace sidestep::scheduler

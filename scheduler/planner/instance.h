// A planning problem: machines with their speeds, links and memory, and the rules that routes keep.
// Times are whole microseconds (design.md, Cost model); nodes are named by their index. Values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace sidestep::scheduler {

struct InstanceNode {
  std::string id;
  bool numeric_id = false;  // written as a number in JSON
  std::string location;
  std::vector<std::int64_t> forward_us;   // of one microbatch, by stage
  std::vector<std::int64_t> backward_us;  // of one microbatch, by stage
  std::int64_t head_us = 0;               // norm, head and loss, where it is an origin
  std::uint32_t slots = 1;         // microbatches whose activations it can keep; memory may allow fewer
  std::uint64_t memory_bytes = 0;  // for stages and slots; 0: `slots` is what counts
  std::uint32_t max_stages = 1;    // that it may hold when the placement is free
  bool can_be_origin = true;       // has the job's data
  bool draining = false;           // keeps its stage, but no route may visit it

  bool operator==(const InstanceNode&) const = default;
};

struct Instance {
  static constexpr std::int32_t no_link = -1;
  static constexpr std::int64_t time_us_max = 1'000'000'000;       // of a task, a gap or a transfer
  static constexpr std::int64_t step_us_max = 70'000'000'000'000;  // whatever a plan does: two years
  static constexpr std::size_t nodes_max = 4096;
  static constexpr std::size_t stages_max = 1024;
  static constexpr std::size_t microbatches_max = 100'000;

  std::string name;
  std::uint32_t stages = 1;
  std::uint32_t stages_per_path = 1;  // stage 0 included; see route_length()
  std::uint32_t max_swaps = 0;
  std::uint32_t max_swap_distance = 1;
  std::uint32_t max_skip = std::numeric_limits<std::uint32_t>::max();  // stages past the furthest reached
  std::uint32_t microbatches = 1;                                      // a step
  std::uint32_t microbatches_per_origin = 0;                           // 0: shared among origins as it suits
  std::vector<std::uint32_t> min_visits, max_visits;                   // a step, by stage
  double min_swap_share = 0;               // of the microbatches, for each pair of CheckFree+ in each order
  std::vector<char> stage_out;             // by stage: lost or rebuilding, nobody holds it
  std::vector<std::uint32_t> stage_sizes;  // nodes of each stage; empty: free
  std::vector<std::vector<std::uint32_t>> stage_of;  // by node, ascending; empty: placement is free
  std::int64_t task_gap_us = 0;
  std::vector<InstanceNode> nodes;
  std::vector<std::int32_t> transfer_us;  // [from * nodes + to], of one microbatch's activations; or no_link

  // Averaging, counted where stage_bytes is not empty: bytes by stage, links as transfer_us.
  std::vector<std::uint64_t> stage_bytes;
  std::vector<std::int64_t> latency_us;
  std::vector<double> bandwidth;  // bytes a second

  // Memory, by stage, for nodes with memory_bytes: what holding it takes, and each slot of it.
  std::vector<std::uint64_t> stage_memory_bytes, slot_memory_bytes;

  std::size_t node_count() const { return nodes.size(); }
  std::int32_t transfer(std::size_t from, std::size_t to) const {
    return transfer_us[from * nodes.size() + to];
  }
  bool counts_averaging() const { return !stage_bytes.empty(); }
  bool placement_fixed() const { return !stage_of.empty(); }
  std::uint32_t live_stages() const;
  // Stages that each route visits: stages_per_path, or all live stages where there are fewer.
  std::uint32_t route_length() const;
  // Microbatches whose activations `node` can keep while it holds `stages`, at most its `slots`; 0: it
  // cannot hold them.
  std::uint32_t slots_with(std::size_t node, const std::vector<std::uint32_t>& held) const;
  // Whether `node` may hold `stage` (it is not out, the node may be an origin where it is stage 0, and has
  // room for it and a slot).
  bool may_hold(std::size_t node, std::uint32_t stage) const;

  bool operator==(const Instance&) const = default;
};

}  // namespace sidestep::scheduler

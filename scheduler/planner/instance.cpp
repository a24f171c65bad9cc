#include "scheduler/planner/instance.h"

#include <algorithm>

namespace sidestep::scheduler {

std::uint32_t Instance::live_stages() const {
  return stages - static_cast<std::uint32_t>(
                      std::count_if(stage_out.begin(), stage_out.end(), [](char out) { return out != 0; }));
}

std::uint32_t Instance::route_length() const { return std::min(stages_per_path, live_stages()); }

std::uint32_t Instance::slots_with(std::size_t node, const std::vector<std::uint32_t>& held) const {
  const InstanceNode& machine = nodes[node];
  if (machine.memory_bytes == 0 || held.empty() || stage_memory_bytes.empty()) return machine.slots;
  std::uint64_t taken = 0, slot = 0;
  for (const std::uint32_t stage : held) {
    taken += stage_memory_bytes[stage];
    slot = std::max(slot, slot_memory_bytes[stage]);
  }
  if (taken > machine.memory_bytes) return 0;
  if (slot == 0) return machine.slots;
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(machine.slots, (machine.memory_bytes - taken) / slot));
}

bool Instance::may_hold(std::size_t node, std::uint32_t stage) const {
  if (stage_out[stage] != 0 || (stage == 0 && !nodes[node].can_be_origin)) return false;
  return slots_with(node, {stage}) > 0;
}

}  // namespace sidestep::scheduler

#include "scheduler/placement_room.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "net/assert.h"
#include "scheduler/placement_instance.h"
#include "scheduler/planner/construct.h"

namespace sidestep::scheduler {
namespace {

std::vector<std::size_t> indices(std::size_t count) {
  std::vector<std::size_t> list(count);
  std::iota(list.begin(), list.end(), std::size_t{0});
  return list;
}

}  // namespace

PlacementRoom::PlacementRoom(const JobSpec& job, std::vector<const PlacementNode*> nodes)
    : job_(job), nodes_(std::move(nodes)), stages_(static_cast<std::size_t>(job.pipeline.stages)) {
  for (std::size_t s = 0; s < stages_; ++s) {
    needs_.push_back(memory_need(job_, static_cast<std::int64_t>(s), 1));
    replica_needs_.push_back(memory_need(job_, static_cast<std::int64_t>(s), 2));
  }
}

std::uint32_t PlacementRoom::slots(std::size_t node, const MemoryNeed& need) const {
  return slots_within(need, bytes_for_stages(*nodes_[node]));
}

bool PlacementRoom::fits(std::size_t node, std::size_t stage) const {
  return slots(node, needs_[stage]) > 0 && (stage > 0 || nodes_[node]->has_data);
}

bool PlacementRoom::enough() const { return cover(indices(nodes_.size()), true, stages_ - 1); }

bool PlacementRoom::averaging_is_tight() const {
  for (std::size_t n = 0; n < nodes_.size(); ++n)
    for (std::size_t s = 0; s < std::min<std::size_t>(stages_, 2); ++s)  // those above 0 are alike
      if (fits(n, s) && slots(n, replica_needs_[s]) < slots(n, needs_[s])) return true;
  return false;
}

std::vector<std::vector<std::size_t>> PlacementRoom::fill(const Instance& instance) const {
  Nodes free = indices(nodes_.size());
  const auto us = [&](std::size_t node) { return nodes_[node]->layer_us + nodes_[node]->head_us; };
  std::stable_sort(free.begin(), free.end(), [&](std::size_t a, std::size_t b) { return us(a) < us(b); });
  std::vector<Nodes> holders(stages_);
  std::vector<double> speeds(stages_, 0);
  while (!free.empty()) {
    const std::size_t node = free.front();
    free.erase(free.begin());
    std::optional<std::size_t> best;
    for (std::size_t s = 0; s < stages_; ++s)
      if ((!best || speeds[s] < speeds[*best]) && may_join(node, s, holders[s]) &&
          others_cover(free, s, holders))
        best = s;
    if (!best) continue;
    holders[*best].push_back(node);
    speeds[*best] += 1 / static_cast<double>(visit_us(instance, node, static_cast<std::uint32_t>(*best)));
  }
  for (Nodes& nodes : holders) {
    SIDESTEP_ASSERT(!nodes.empty());
    std::sort(nodes.begin(), nodes.end());
  }
  return holders;
}

// Whether the `free` nodes can hold that many stages above 0, and stage 0 where it is wanted. Stages above 0
// are alike, so counting is enough.
bool PlacementRoom::cover(const Nodes& free, bool needs_origin, std::size_t needed) const {
  std::size_t only_origin = 0, only_other = 0, both = 0;
  for (const std::size_t node : free) {
    const bool origin = fits(node, 0);
    const bool other = stages_ > 1 && fits(node, 1);
    if (origin && other)
      ++both;
    else if (origin)
      ++only_origin;
    else if (other)
      ++only_other;
  }
  if (needs_origin && only_origin == 0) {
    if (both == 0) return false;
    --both;
  }
  return only_other + both >= needed;
}

// Whether `free` can still fill every stage that is empty once `taken` is filled.
bool PlacementRoom::others_cover(const Nodes& free, std::size_t taken,
                                 const std::vector<Nodes>& holders) const {
  const bool needs_origin = taken != 0 && holders[0].empty();
  std::size_t needed = 0;
  for (std::size_t s = 1; s < stages_; ++s)
    if (s != taken && holders[s].empty()) ++needed;
  return (!needs_origin && needed == 0) || cover(free, needs_origin, needed);
}

// Averaging with a replica takes memory on both sides.
bool PlacementRoom::may_join(std::size_t node, std::size_t stage, const Nodes& holders) const {
  if (holders.empty() || !fits(node, stage)) return fits(node, stage);
  const auto has_room = [&](std::size_t one) { return slots(one, replica_needs_[stage]) > 0; };
  return holders.size() < static_cast<std::size_t>(job_.pipeline.microbatches_per_step) && has_room(node) &&
         std::all_of(holders.begin(), holders.end(), has_room);
}

}  // namespace sidestep::scheduler

// The moves of Search. Each keeps every rule of the instance that the draft kept before.
#include <algorithm>
#include <array>
#include <optional>

#include "scheduler/planner/construct.h"
#include "scheduler/planner/rules.h"
#include "scheduler/planner/search.h"

namespace sidestep::scheduler {
namespace {

bool visits(const PathHop* hops, std::size_t length, std::uint32_t stage) {
  return std::any_of(hops, hops + length, [&](const PathHop& hop) { return hop.stage == stage; });
}

bool allowed(const Instance& instance, const PathHop* hops, std::size_t length) {
  std::array<std::uint32_t, Instance::stages_max> stages;
  for (std::size_t i = 0; i < length; ++i) stages[i] = hops[i].stage;
  return order_allowed(instance, stages.data(), length);
}

}  // namespace

bool Search::propose() {
  // Shares found by trial on several families of instances: what moves work between nodes is most of it,
  // what changes the placement is dear to evaluate and seldom accepted late.
  const double which = random_.uniform();
  if (which < 0.28) return replace_node();
  if (which < 0.48) return exchange_nodes();
  if (which < 0.66) return exchange_stages();
  if (which < 0.69) return change_stage();
  if (which < 0.70) return reroute();
  if (which < 0.76) return reorder();
  if (which < 0.84) return exchange_rows();
  if (options_.keep_placement) return exchange_nodes();
  return which < 0.98 ? exchange_places() : shift_place();
}

// One hop at another replica.
bool Search::replace_node() {
  const bool origin_may_change = instance_.microbatches_per_origin == 0;
  if (draft_.length < 2 && !origin_may_change) return false;
  const std::size_t row = below(draft_.rows);
  const std::size_t at = origin_may_change ? below(draft_.length) : random_hop();
  const PathHop old = draft_.row(row)[at];
  if (usable_[old.stage].size() < 2) return false;
  const std::uint32_t node = holder(old.stage);
  if (node == old.node) return false;
  change_row(row)[at].node = node;
  return true;
}

// Two microbatches exchange their replicas of a stage, origins among them.
bool Search::exchange_nodes() {
  const std::size_t a = below(draft_.rows), b = below(draft_.rows);
  const std::size_t at = below(draft_.length);
  const PathHop mine = draft_.row(a)[at];
  const PathHop* const hops = draft_.row(b);
  for (std::size_t i = 0; i < draft_.length; ++i) {
    if (hops[i].stage != mine.stage || hops[i].node == mine.node) continue;
    const std::uint32_t theirs = hops[i].node;
    change_row(a)[at].node = theirs;
    change_row(b)[i].node = mine.node;
    return true;
  }
  return false;
}

// Puts `hop` into the row in place of the one at `from`: there if the order allows it, else where it ascends.
bool Search::put_hop(std::size_t row, std::size_t from, PathHop hop) {
  PathHop* const hops = change_row(row);
  --visits_[hops[from].stage];
  ++visits_[hop.stage];
  hops[from] = hop;
  if (allowed(instance_, hops, draft_.length)) return true;
  std::size_t at = from;
  while (at + 1 < draft_.length && hops[at + 1].stage < hop.stage) {
    std::swap(hops[at], hops[at + 1]);
    ++at;
  }
  while (at > 1 && hops[at - 1].stage > hop.stage) {
    std::swap(hops[at], hops[at - 1]);
    --at;
  }
  return allowed(instance_, hops, draft_.length);
}

// Two microbatches exchange a stage that only one of them visits for one that only the other does.
bool Search::exchange_stages() {
  if (draft_.length < 2) return false;
  const std::size_t a = below(draft_.rows), b = below(draft_.rows);
  if (a == b) return false;
  const std::size_t i = random_hop(), j = random_hop();
  PathHop mine = draft_.row(a)[i], theirs = draft_.row(b)[j];
  if (mine.stage == theirs.stage || visits(draft_.row(b), draft_.length, mine.stage) ||
      visits(draft_.row(a), draft_.length, theirs.stage))
    return false;
  if (random_.chance(0.3)) {
    mine.node = holder(mine.stage);
    theirs.node = holder(theirs.stage);
  }
  return put_hop(a, i, theirs) && put_hop(b, j, mine) && swaps_kept();
}

// One microbatch visits another stage instead, as far as the visits of both allow.
bool Search::change_stage() {
  if (draft_.length < 2) return false;
  const std::size_t row = below(draft_.rows), at = random_hop();
  const std::uint32_t old = draft_.row(row)[at].stage;
  const std::uint32_t stage = 1 + below(instance_.stages - 1);
  if (usable_[stage].empty() || visits_[old] <= instance_.min_visits[old] ||
      visits_[stage] >= instance_.max_visits[stage] || visits(draft_.row(row), draft_.length, stage))
    return false;
  return put_hop(row, at, {stage, holder(stage)}) && swaps_kept();
}

std::uint32_t Search::near_holder(std::uint32_t stage, std::size_t node) {
  constexpr int looks = 2;
  std::uint32_t best = holder(stage);
  for (int i = 1; i < looks; ++i) {
    const std::uint32_t other = holder(stage);
    if (both_ways_us(instance_, node, other) < both_ways_us(instance_, node, best)) best = other;
  }
  return best;
}

// One microbatch goes another way, through the same stages.
bool Search::reroute() {
  PathHop* const hops = change_row(below(draft_.rows));
  if (instance_.microbatches_per_origin == 0) hops[0].node = holder(0);
  for (std::size_t i = 1; i < draft_.length; ++i) hops[i].node = near_holder(hops[i].stage, hops[i - 1].node);
  return true;
}

bool Search::reorder() {
  if (instance_.max_swaps == 0 || draft_.length < 3) return false;
  const std::size_t row = below(draft_.rows);
  const std::size_t at = 1 + below(draft_.length - 2);
  PathHop* const hops = change_row(row);
  std::swap(hops[at], hops[at + 1]);
  return allowed(instance_, hops, draft_.length) && swaps_kept();
}

// Order of injection.
bool Search::exchange_rows() {
  const std::size_t a = below(draft_.rows), b = below(draft_.rows);
  if (a == b) return false;
  std::swap_ranges(change_row(a), change_row(a) + draft_.length, change_row(b));
  return true;
}

// Two nodes hold each other's stages; routes stay as they were otherwise.
bool Search::exchange_places() {
  const std::uint32_t a = below(draft_.held.size()), b = below(draft_.held.size());
  const std::vector<std::uint32_t> of_a = draft_.held[a], of_b = draft_.held[b];
  if (of_a == of_b || instance_.nodes[a].draining || instance_.nodes[b].draining) return false;
  const auto may_hold = [&](std::uint32_t node, const std::vector<std::uint32_t>& stages) {
    if (stages.size() > std::max<std::size_t>(1, instance_.nodes[node].max_stages)) return false;
    if (!stages.empty() && instance_.slots_with(node, stages) == 0) return false;
    return std::all_of(stages.begin(), stages.end(),
                       [&](std::uint32_t stage) { return instance_.may_hold(node, stage); });
  };
  if (!may_hold(a, of_b) || !may_hold(b, of_a)) return false;
  change_held(a, of_b);
  change_held(b, of_a);
  for (std::size_t r = 0; r < draft_.rows; ++r) {
    const PathHop* const hops = draft_.row(r);
    for (std::size_t i = 0; i < draft_.length; ++i)
      if (hops[i].node == a || hops[i].node == b) change_row(r)[i].node = hops[i].node == a ? b : a;
  }
  return true;
}

// Where sizes are free, a node goes over to another stage; one that may hold several also takes one more or
// gives one up. Visits of a stage that it leaves are dealt out among the replicas there, and it takes its
// share of those of the stage that it comes to.
bool Search::shift_place() {
  if (!instance_.stage_sizes.empty()) return false;
  const std::uint32_t node = below(draft_.held.size());
  const InstanceNode& machine = instance_.nodes[node];
  if (machine.draining) return false;
  std::vector<std::uint32_t> stages = draft_.held[node];
  const bool several = machine.max_stages > 1 && !stages.empty() && random_.chance(0.5);
  std::optional<std::uint32_t> from, to;
  if (!stages.empty() && (!several || (stages.size() > 1 && random_.chance(0.5)))) {
    const std::uint32_t at = below(stages.size());
    from = stages[at];
    stages.erase(stages.begin() + at);
    if (usable_[*from].size() < 2) return false;
  }
  if (!several || !from) {
    to = below(instance_.stages);
    if (to == from || !instance_.may_hold(node, *to) ||
        std::find(stages.begin(), stages.end(), *to) != stages.end() || stages.size() >= machine.max_stages)
      return false;
    stages.push_back(*to);
  }
  if (instance_.microbatches_per_origin != 0 && (from == 0u || to == 0u)) return false;
  if (instance_.slots_with(node, stages) == 0) return false;
  change_held(node, stages);
  const double share = to ? 1.0 / static_cast<double>(usable_[*to].size() + 1) : 0;
  for (std::size_t r = 0; r < draft_.rows; ++r) {
    for (std::size_t i = 0; i < draft_.length; ++i) {
      const PathHop hop = draft_.row(r)[i];
      if (hop.node == node && hop.stage == from) {
        std::uint32_t other = node;
        while (other == node) other = holder(hop.stage);
        change_row(r)[i].node = other;
      } else if (to && hop.stage == *to && random_.chance(share)) {
        change_row(r)[i].node = node;
      }
    }
  }
  return true;
}

// CheckFree+: each of its pairs is still passed in both orders often enough.
bool Search::swaps_kept() {
  for (const SwapPair& pair : swap_pairs(instance_)) {
    std::uint32_t up = 0, down = 0;
    for (std::size_t r = 0; r < draft_.rows; ++r) {
      const PathHop* const hops = draft_.row(r);
      std::size_t low = draft_.length, high = draft_.length;
      for (std::size_t i = 0; i < draft_.length; ++i) {
        if (hops[i].stage == pair.low) low = i;
        if (hops[i].stage == pair.high) high = i;
      }
      if (low < draft_.length && high < draft_.length) ++(low < high ? up : down);
    }
    if (std::min(up, down) < swaps_needed(instance_)) return false;
  }
  return true;
}

}  // namespace sidestep::scheduler

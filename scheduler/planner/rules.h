// The rules that plans keep (design.md, Words: route, swap; Cost model), each in one place for planner,
// evaluator and messages. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "net/status.h"
#include "scheduler/planner/instance.h"
#include "scheduler/planner/path_plan.h"

namespace sidestep::scheduler {

struct BrokenRule {
  std::string rule;  // "route length", "visits", "swap distance", ...: the instance's key where there is one
  std::string text;  // which microbatch, node or stage, the value and the bound
  bool operator==(const BrokenRule&) const = default;
};

// Whether the order of a route's stages is allowed: starts at 0, each live stage at most once, swaps and
// jumps within bounds. Its length is not looked at. The hot path of the search.
bool order_allowed(const Instance& instance, const std::uint32_t* stages, std::size_t count);

// The pairs that CheckFree+ wants in both orders: (1, 2) and the last two stages; not one with a stage that
// is out.
struct SwapPair {
  std::uint32_t low = 0, high = 0;
};
std::vector<SwapPair> swap_pairs(const Instance& instance);
// Microbatches that each pair needs in each order.
std::uint32_t swaps_needed(const Instance& instance);

// Every rule that the plan breaks; empty: none. Indices that are not the instance's count as broken too.
std::vector<BrokenRule> broken_rules(const Instance& instance, const PathPlan& plan);

// Whether any plan can keep the rules, as far as sums tell. Errors: refused, one line for each rule that
// cannot hold, and by how much ("stage 3 can take 9 visits a step, 12 are needed: add a node or slots").
Status check_feasible(const Instance& instance);

}  // namespace sidestep::scheduler

// Whether any plan can keep the rules of an instance, as far as sums tell.
#include <algorithm>
#include <cstdint>
#include <numeric>

#include "scheduler/planner/rules.h"

namespace sidestep::scheduler {
namespace {

std::string stage_text(std::uint32_t stage) { return "stage " + std::to_string(stage); }

std::string plural(std::uint64_t count, const char* what) {
  return std::to_string(count) + ' ' + what + (count == 1 ? "" : "s");
}

// Why a stage cannot be visited, or how often it can.
struct Capacity {
  std::uint64_t visits = 0;
  std::string cure;
};

class Feasible {
 public:
  explicit Feasible(const Instance& instance) : in_(instance) {
    for (std::uint32_t s = 0; s < in_.stages; ++s)
      if (in_.stage_out[s] == 0) live_.push_back(s);
    for (std::size_t n = 0; n < in_.nodes.size(); ++n) usable_.push_back(usable(n) ? 1 : 0);
    takers_.assign(in_.stages, 0);
    for (const std::uint32_t s : live_)
      for (std::size_t n = 0; n < in_.nodes.size(); ++n) takers_[s] += can_take(n, s) ? 1 : 0;
  }

  Status check() {
    if (in_.placement_fixed())
      check_fixed();
    else
      check_free();
    check_visits();
    check_swaps();
    if (lines_.empty()) return {};
    return Status::refused(lines_);
  }

 private:
  void add(const std::string& line) { lines_ += (lines_.empty() ? "" : "\n") + line; }

  // May compute at all: not draining, and with somebody to send to and to hear from.
  bool usable(std::size_t node) const {
    if (in_.nodes[node].draining) return false;
    const bool alone = in_.placement_fixed() ? in_.stage_of[node].size() >= in_.route_length()
                                             : in_.nodes[node].max_stages >= in_.route_length();
    for (std::size_t other = 0; other < in_.nodes.size() && !alone; ++other)
      if (other != node && in_.transfer(node, other) != Instance::no_link &&
          in_.transfer(other, node) != Instance::no_link && !in_.nodes[other].draining)
        return true;
    return alone;
  }

  bool can_take(std::size_t node, std::uint32_t stage) const {
    if (usable_[node] == 0) return false;
    if (!in_.placement_fixed()) return in_.may_hold(node, stage);
    const std::vector<std::uint32_t>& held = in_.stage_of[node];
    return std::binary_search(held.begin(), held.end(), stage) && in_.slots_with(node, held) > 0;
  }

  void check_fixed() {
    for (const std::uint32_t s : live_) {
      const bool held = std::any_of(in_.stage_of.begin(), in_.stage_of.end(), [&](const auto& stages) {
        return std::binary_search(stages.begin(), stages.end(), s);
      });
      if (!held)
        add(stage_text(s) + " is held by no node, 1 is needed: name it in stage_of or in stages_out");
    }
    if (in_.microbatches_per_origin == 0) return;
    const std::uint64_t started = takers_[0] * in_.microbatches_per_origin;
    if (started != in_.microbatches)
      add("the nodes of stage 0 can start " + std::to_string(started) + " microbatches a step, " +
          std::to_string(in_.microbatches) +
          " are needed: give each a slot and a link, or change microbatches_per_origin");
  }

  void check_free() {
    // A node with memory for several stages counts for as many as it may hold.
    std::uint64_t room = 0;
    for (std::size_t n = 0; n < in_.nodes.size(); ++n)
      if (std::any_of(live_.begin(), live_.end(), [&](std::uint32_t s) { return can_take(n, s); }))
        room += in_.nodes[n].max_stages;
    if (room < live_.size())
      add(plural(live_.size(), "live stage") + " need a node each, " + plural(room, "node") +
          " can hold one: add nodes, or raise max_stages");
    for (const std::uint32_t s : live_) {
      if (in_.stage_sizes.empty()) break;
      const std::uint64_t able = takers_[s];
      if (able > 0 && able < in_.stage_sizes[s])
        add(stage_text(s) + " can be held by " + plural(able, "node") + ", stage_sizes asks for " +
            std::to_string(in_.stage_sizes[s]) +
            (s == 0 ? ": add nodes that can be origins" : ": add nodes or memory"));
    }
    const std::uint64_t sum =
        std::accumulate(in_.stage_sizes.begin(), in_.stage_sizes.end(), std::uint64_t{0});
    if (sum > room && room >= live_.size())
      add("stage_sizes asks for " + plural(sum, "node") + ", " + std::to_string(room) + " can hold a stage");
  }

  // The fewest hops past stage 0 that reach each live stage; more than there are stages: it cannot be
  // reached.
  std::vector<std::uint32_t> hops_to() const {
    std::vector<std::uint32_t> hops(in_.stages, 0);
    std::size_t from = 0;
    for (std::size_t i = 1; i < live_.size(); ++i) {
      while (from < i && live_[i] - live_[from] > in_.max_skip) ++from;
      // The furthest back that still reaches it was itself reached with the fewest hops.
      hops[live_[i]] = from == i ? in_.stages + 1 : std::min(hops[live_[from]] + 1, in_.stages + 1);
    }
    return hops;
  }

  Capacity capacity(std::uint32_t stage, std::uint32_t hops) const {
    if (takers_[stage] == 0) return {0, no_taker(stage)};
    if (hops >= in_.route_length())
      return {0, "raise max_skip or stages_per_path, or take in the stages that are out"};
    return {in_.max_visits[stage], "raise max_visits_per_stage"};
  }

  std::string no_taker(std::uint32_t stage) const {
    std::size_t draining = 0, full = 0, alone = 0;
    for (std::size_t n = 0; n < in_.nodes.size(); ++n) {
      const std::vector<std::uint32_t> one{stage};
      if (in_.placement_fixed() && !std::binary_search(in_.stage_of[n].begin(), in_.stage_of[n].end(), stage))
        continue;
      if (stage == 0 && !in_.nodes[n].can_be_origin) continue;
      if (in_.nodes[n].draining)
        ++draining;
      else if (in_.slots_with(n, in_.placement_fixed() ? in_.stage_of[n] : one) == 0)
        ++full;
      else
        ++alone;
    }
    if (draining + full + alone == 0)
      return stage == 0 && !in_.placement_fixed() ? "add a node that can be an origin" : "add a node";
    std::string why;
    const auto note = [&](std::size_t count, const char* what) {
      if (count > 0) why += (why.empty() ? "" : ", ") + plural(count, "node") + ' ' + what;
    };
    note(full, "without memory for it and a slot");
    note(draining, "draining");
    note(alone, "without a link both ways");
    return "add a node or slots (" + why + ')';
  }

  void check_visits() {
    const std::vector<std::uint32_t> hops = hops_to();
    const std::uint64_t total = std::uint64_t{in_.microbatches} * (in_.route_length() - 1);
    std::vector<Capacity> capacities;
    std::uint64_t room = 0, asked = 0;
    bool by_limit_alone = true;
    for (const std::uint32_t s : live_) {
      capacities.push_back(capacity(s, hops[s]));
      if (s == 0) continue;
      room += capacities.back().visits;
      asked += in_.min_visits[s];
      by_limit_alone = by_limit_alone && capacities.back().visits > 0;
    }
    if (asked > total)
      add("min_visits_per_stage asks for " + plural(asked, "visit") + " a step past stage 0, routes make " +
          std::to_string(total) + ": lower it by " + std::to_string(asked - total) + " in all");
    if (room < total && by_limit_alone)
      add("max_visits_per_stage allows " + plural(room, "visit") + " a step past stage 0, routes make " +
          std::to_string(total) + ": raise it by " + std::to_string(total - room) + " in all");
    for (std::size_t i = 0; i < live_.size(); ++i) {
      if (capacities[i].visits > 0) continue;
      const std::uint32_t s = live_[i];
      const std::uint64_t missing =
          room < total ? std::min<std::uint64_t>(total - room, in_.microbatches) : 0;
      const std::uint64_t needed = std::max<std::uint64_t>(in_.min_visits[s], s > 0 ? missing : 0);
      if (needed > 0)
        add(stage_text(s) + " can take 0 visits a step, " + std::to_string(needed) +
            " are needed: " + capacities[i].cure);
    }
  }

  void check_swaps() {
    const std::uint64_t needed = swaps_needed(in_);
    const std::vector<SwapPair> pairs = swap_pairs(in_);
    if (needed == 0 || pairs.empty()) return;
    if (in_.max_swaps == 0) add("min_swap_share needs max_swaps of at least 1, it is 0");
    if (in_.max_skip < 2)
      add("min_swap_share needs max_skip of at least 2, it is " + std::to_string(in_.max_skip));
    if (in_.route_length() < 3)
      add("min_swap_share needs routes of at least 3 stages, they have " +
          std::to_string(in_.route_length()));
    if (2 * needed > in_.microbatches) {
      add("min_swap_share asks for " + std::to_string(2 * needed) + " microbatches" +
          " a step through each pair, there are " + std::to_string(in_.microbatches) +
          ": lower it to 0.5 at most");
      return;
    }
    for (const SwapPair& pair : pairs)
      for (const std::uint32_t s : {pair.low, pair.high})
        if (in_.max_visits[s] < 2 * needed)
          add(stage_text(s) + " can take " + plural(in_.max_visits[s], "visit") + " a step, " +
              std::to_string(2 * needed) + " are needed for min_swap_share: raise max_visits_per_stage");
  }

  const Instance& in_;
  std::vector<std::uint32_t> live_;
  std::vector<char> usable_;           // by node
  std::vector<std::uint64_t> takers_;  // nodes that can take visits, by stage
  std::string lines_;
};

}  // namespace

Status check_feasible(const Instance& instance) { return Feasible(instance).check(); }

}  // namespace sidestep::scheduler

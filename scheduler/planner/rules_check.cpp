// What a plan is checked for. Runs with every full report of the evaluator: text is made only for what is
// broken.
#include <algorithm>

#include "scheduler/planner/field_reader.h"
#include "scheduler/planner/rules.h"

namespace sidestep::scheduler {
namespace {

std::string stage_text(std::uint32_t stage) { return "stage " + std::to_string(stage); }

class RuleCheck {
 public:
  RuleCheck(const Instance& instance, const PathPlan& plan) : in_(instance), plan_(plan) {}

  std::vector<BrokenRule> check() {
    if (plan_.stage_of.size() != in_.nodes.size() || plan_.slots.size() != in_.nodes.size()) {
      add("stage_of", "the plan is for " + std::to_string(plan_.stage_of.size()) + " nodes with " +
                          std::to_string(plan_.slots.size()) + " numbers of slots, there are " +
                          std::to_string(in_.nodes.size()));
      return std::move(broken_);
    }
    visits_.assign(in_.stages, 0);
    started_.assign(in_.nodes.size(), 0);
    last_seen_.assign(in_.stages, 0);
    check_placement();
    check_numbers();
    for (std::size_t p = 0; p < plan_.paths.size(); ++p) check_path(plan_.paths[p], p + 1);
    check_visits();
    check_origins();
    check_swaps();
    return std::move(broken_);
  }

 private:
  void add(const char* rule, std::string text) { broken_.push_back({rule, std::move(text)}); }
  std::string node_text(std::size_t node) const {
    const std::string& id = in_.nodes[node].id;
    const bool plain =
        id.size() <= 40 && std::all_of(id.begin(), id.end(), [](char c) { return c > ' ' && c < 127; });
    return "node " + (plain ? id : in_quotes(id));
  }
  bool holds(std::size_t node, std::uint32_t stage) const {
    const std::vector<std::uint32_t>& held = plan_.stage_of[node];
    return std::binary_search(held.begin(), held.end(), stage);
  }

  void check_placement() {
    std::vector<std::uint32_t> holders(in_.stages, 0);
    for (std::size_t n = 0; n < in_.nodes.size(); ++n) {
      const std::vector<std::uint32_t>& held = plan_.stage_of[n];
      for (const std::uint32_t stage : held) {
        if (stage >= in_.stages) {
          add("stages",
              node_text(n) + " holds stage " + std::to_string(stage) + " of " + std::to_string(in_.stages));
          continue;
        }
        ++holders[stage];
        if (in_.stage_out[stage] != 0)
          add("stages_out", node_text(n) + " holds " + stage_text(stage) + ", which is out");
        if (stage == 0 && !in_.nodes[n].can_be_origin)
          add("can_be_origin", node_text(n) + " holds stage 0 and cannot be an origin");
      }
      if (!held.empty()) check_room(n, held);
      if (in_.placement_fixed() && held != in_.stage_of[n])
        add("stage_of",
            node_text(n) + " holds " + list_text(held) + ", the instance says " + list_text(in_.stage_of[n]));
      if (!in_.placement_fixed() && held.size() > in_.nodes[n].max_stages)
        add("max_stages", node_text(n) + " holds " + std::to_string(held.size()) + " stages, at most " +
                              std::to_string(in_.nodes[n].max_stages) + " allowed");
    }
    for (std::uint32_t s = 0; s < in_.stages; ++s) {
      if (holders[s] == 0 && in_.stage_out[s] == 0) add("stage_of", "no node holds " + stage_text(s));
      if (!in_.stage_sizes.empty() && holders[s] != in_.stage_sizes[s])
        add("stage_sizes", stage_text(s) + " is held by " + std::to_string(holders[s]) + " nodes, " +
                               std::to_string(in_.stage_sizes[s]) + " needed");
    }
  }

  void check_room(std::size_t node, const std::vector<std::uint32_t>& held) {
    if (held.back() >= in_.stages) return;
    const std::uint32_t room = in_.slots_with(node, held);
    if (room == 0)
      add("memory_bytes", node_text(node) + " has no memory for " + list_text(held) + " and a slot");
    else if (plan_.slots[node] == 0)
      add("slots", node_text(node) + " has no slot");
    else if (plan_.slots[node] > room)
      add("slots", node_text(node) + " has " + std::to_string(plan_.slots[node]) + " slots, at most " +
                       std::to_string(room) + " allowed");
  }

  static std::string list_text(const std::vector<std::uint32_t>& stages) {
    if (stages.empty()) return "no stage";
    std::string text = stages.size() == 1 ? "stage " : "stages ";
    for (std::size_t i = 0; i < stages.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(stages[i]);
    return text;
  }

  void check_numbers() {
    const char* rule = in_.microbatches_per_origin > 0 ? "microbatches_per_origin" : "microbatches_per_step";
    std::vector<char> seen(in_.microbatches, 0);
    std::uint32_t missing = in_.microbatches;
    for (const Path& path : plan_.paths) {
      if (path.microbatch >= in_.microbatches) {
        add(rule, "microbatch " + std::to_string(path.microbatch) + " is not one of the " +
                      std::to_string(in_.microbatches) + " of a step");
      } else if (seen[path.microbatch] != 0) {
        add(rule, "microbatch " + std::to_string(path.microbatch) + " is there twice");
      } else {
        seen[path.microbatch] = 1;
        --missing;
      }
    }
    if (missing == 0) return;
    const auto first = std::find(seen.begin(), seen.end(), 0) - seen.begin();
    add(rule, std::to_string(missing) + " of " + std::to_string(in_.microbatches) +
                  " microbatches have no route, microbatch " + std::to_string(first) + " first");
  }

  void check_path(const Path& path, std::size_t stamp) {
    const auto name = [&] { return "microbatch " + std::to_string(path.microbatch); };
    if (path.hops.size() != in_.route_length())
      add("stages_per_path", name() + " visits " + std::to_string(path.hops.size()) + " stages, " +
                                 std::to_string(in_.route_length()) + " needed");
    if (path.hops.empty()) return;
    for (const PathHop& hop : path.hops) {
      if (hop.stage >= in_.stages || hop.node >= in_.nodes.size()) {
        add("hops", name() + " goes to stage " + std::to_string(hop.stage) + " at node number " +
                        std::to_string(hop.node) + ", which is not there");
        return;
      }
    }
    if (path.hops[0].stage != 0)
      add("stage 0 first", name() + " starts at " + stage_text(path.hops[0].stage));
    else
      ++started_[path.hops[0].node];
    check_order(path, stamp, name);
    for (std::size_t h = 0; h < path.hops.size(); ++h) {
      const PathHop& hop = path.hops[h];
      if (!holds(hop.node, hop.stage))
        add("hops", name() + " goes to " + node_text(hop.node) + " for " + stage_text(hop.stage) +
                        ", which it does not hold");
      if (in_.nodes[hop.node].draining)
        add("draining", name() + " visits " + node_text(hop.node) + ", which is draining");
      const PathHop& next = path.hops[h + 1 < path.hops.size() ? h + 1 : 0];
      check_link(hop.node, next.node, name);
    }
  }

  // A microbatch goes each way on every link of its route: forward, then backward.
  template <class Name>
  void check_link(std::uint32_t from, std::uint32_t to, const Name& name) {
    if (from == to) return;
    for (const auto& [a, b] : {std::pair(from, to), std::pair(to, from)})
      if (in_.transfer(a, b) == Instance::no_link)
        add("transfer_s", name() + " needs a link from " + node_text(a) + " to " + node_text(b));
  }

  // The same rules as order_allowed, by name.
  template <class Name>
  void check_order(const Path& path, std::size_t stamp, const Name& name) {
    std::uint32_t furthest = 0, swaps = 0;
    for (const PathHop& hop : path.hops) {
      const std::uint32_t stage = hop.stage;
      if (last_seen_[stage] == stamp)
        add("each stage once", name() + " visits " + stage_text(stage) + " twice");
      last_seen_[stage] = stamp;
      ++visits_[stage];
      if (in_.stage_out[stage] != 0)
        add("stages_out", name() + " visits " + stage_text(stage) + ", which is out");
      if (stage < furthest) {
        ++swaps;
        if (furthest - stage > in_.max_swap_distance)
          add("max_swap_distance", name() + " goes back from stage " + std::to_string(furthest) + " to " +
                                       std::to_string(stage) + ", at most " +
                                       std::to_string(in_.max_swap_distance) + " allowed");
      } else {
        if (stage - furthest > in_.max_skip)
          add("max_skip", name() + " goes from stage " + std::to_string(furthest) + " to " +
                              std::to_string(stage) + ", at most " + std::to_string(in_.max_skip) +
                              " further allowed");
        furthest = stage;
      }
    }
    if (swaps > in_.max_swaps)
      add("max_swaps", name() + " has " + std::to_string(swaps) + " swaps, at most " +
                           std::to_string(in_.max_swaps) + " allowed");
  }

  // Of stage 0 the rules on numbers and on where routes start say it all.
  void check_visits() {
    for (std::uint32_t s = 1; s < in_.stages; ++s) {
      const auto text = [&](const char* bound, std::uint32_t limit) {
        return stage_text(s) + " is visited " + std::to_string(visits_[s]) + " times, at " + bound + ' ' +
               std::to_string(limit);
      };
      if (visits_[s] < in_.min_visits[s])
        add("min_visits_per_stage", text("least", in_.min_visits[s]) + " needed");
      if (visits_[s] > in_.max_visits[s])
        add("max_visits_per_stage", text("most", in_.max_visits[s]) + " allowed");
    }
  }

  void check_origins() {
    if (in_.microbatches_per_origin == 0) return;
    for (std::size_t n = 0; n < in_.nodes.size(); ++n) {
      const bool origin = holds(n, 0) && !in_.nodes[n].draining;
      if (started_[n] != (origin ? in_.microbatches_per_origin : 0) && (origin || holds(n, 0)))
        add("microbatches_per_origin",
            node_text(n) + " starts " + std::to_string(started_[n]) + " microbatches, " +
                std::to_string(origin ? in_.microbatches_per_origin : 0) + " needed");
    }
  }

  void check_swaps() {
    const std::uint32_t needed = swaps_needed(in_);
    for (const SwapPair& pair : swap_pairs(in_)) {
      std::uint32_t straight = 0, swapped = 0;
      for (const Path& path : plan_.paths) {
        const auto at = [&](std::uint32_t stage) {
          return std::find_if(path.hops.begin(), path.hops.end(),
                              [&](const PathHop& hop) { return hop.stage == stage; });
        };
        const auto low = at(pair.low), high = at(pair.high);
        if (low != path.hops.end() && high != path.hops.end()) ++(low < high ? straight : swapped);
      }
      const auto check = [&](std::uint32_t count, std::uint32_t first, std::uint32_t second) {
        if (count < needed)
          add("min_swap_share", std::to_string(count) + " microbatches visit stage " + std::to_string(first) +
                                    " before " + std::to_string(second) + ", " + std::to_string(needed) +
                                    " needed");
      };
      check(straight, pair.low, pair.high);
      check(swapped, pair.high, pair.low);
    }
  }

  const Instance& in_;
  const PathPlan& plan_;
  std::vector<BrokenRule> broken_;
  std::vector<std::uint32_t> visits_;   // by stage
  std::vector<std::uint32_t> started_;  // microbatches, by node
  std::vector<std::size_t> last_seen_;  // by stage: on which path, counted from 1
};

}  // namespace

std::vector<BrokenRule> broken_rules(const Instance& instance, const PathPlan& plan) {
  return RuleCheck(instance, plan).check();
}

}  // namespace sidestep::scheduler

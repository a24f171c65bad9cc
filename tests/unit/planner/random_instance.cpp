#include "tests/unit/planner/random_instance.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "scheduler/planner/rules.h"
#include "scheduler/planner/visit_share.h"

namespace sidestep::scheduler::testing {
namespace {

class Drawing {
 public:
  Drawing(net::Random& random, const InstanceSizes& sizes) : random_(random), sizes_(sizes) {}

  RandomInstance draw() {
    draw_stages();
    draw_nodes();
    draw_times();
    draw_placement();
    draw_numbers();
    draw_routes();
    limit_orders();
    limit_visits();
    draw_memory();
    cut_links();
    if (random_.chance(0.4)) draw_averaging();
    return {std::move(in_), std::move(plan_)};
  }

 private:
  std::uint32_t between(std::int64_t low, std::int64_t high) {
    return static_cast<std::uint32_t>(random_.between(low, high));
  }
  template <class T>
  const T& one_of(const std::vector<T>& values) {
    return values[between(0, static_cast<std::int64_t>(values.size()) - 1)];
  }
  template <class T>
  void shuffle(std::vector<T>& values) {
    for (std::size_t i = values.size(); i > 1; --i)
      std::swap(values[i - 1], values[between(0, static_cast<std::int64_t>(i) - 1)]);
  }

  void draw_stages() {
    in_.stages = between(1, sizes_.stages_max);
    in_.stage_out.assign(in_.stages, 0);
    const double out = random_.chance(0.3) ? 0.25 : 0;
    for (std::uint32_t s = 1; s < in_.stages; ++s) in_.stage_out[s] = random_.chance(out) ? 1 : 0;
    for (std::uint32_t s = 0; s < in_.stages; ++s)
      if (in_.stage_out[s] == 0) live_.push_back(s);
    length_ = between(1, static_cast<std::int64_t>(live_.size()));
    in_.stages_per_path = length_ == live_.size() ? between(length_, in_.stages) : length_;
  }

  void draw_nodes() {
    in_.nodes.resize(between(sizes_.nodes_min, sizes_.nodes_max));
    for (std::size_t n = 0; n < in_.nodes.size(); ++n) {
      in_.nodes[n].id = std::to_string(n);
      in_.nodes[n].slots = random_.chance(0.3) ? 1 : between(1, 4);
      in_.nodes[n].forward_us.resize(in_.stages);
      in_.nodes[n].backward_us.resize(in_.stages);
    }
    in_.transfer_us.assign(in_.nodes.size() * in_.nodes.size(), 0);
  }

  // Small numbers make many things happen at one instant.
  void draw_times() {
    constexpr std::array<std::int64_t, 4> spans{0, 5, 40, 2'000'000};
    const auto span = [&] { return spans[between(0, 3)]; };
    const std::int64_t base = span(), task = span(), link = span();
    const auto time = [&] { return base + random_.between(0, task); };
    in_.task_gap_us = random_.chance(0.5) ? 0 : random_.between(0, task);
    for (InstanceNode& node : in_.nodes) {
      const bool same = random_.chance(0.5);
      for (std::uint32_t s = 0; s < in_.stages; ++s) {
        node.forward_us[s] = same && s > 0 ? node.forward_us[0] : std::max<std::int64_t>(1, time());
        node.backward_us[s] = same && s > 0 ? node.backward_us[0] : std::max<std::int64_t>(1, time());
      }
      node.head_us = std::max<std::int64_t>(1, time());
    }
    for (std::int32_t& us : in_.transfer_us) us = static_cast<std::int32_t>(random_.between(0, link));
    for (std::size_t n = 0; n < in_.nodes.size(); ++n) in_.transfer_us[n * in_.nodes.size() + n] = 0;
  }

  void draw_placement() {
    const bool fixed = random_.chance(0.3);
    std::vector<std::size_t> order(in_.nodes.size());
    std::iota(order.begin(), order.end(), 0);
    shuffle(order);
    plan_.stage_of.resize(in_.nodes.size());
    for (std::size_t i = 0; i < std::max(live_.size(), order.size()); ++i) {
      const std::uint32_t stage = i < live_.size() ? live_[i] : one_of(live_);
      if (i < live_.size() || random_.chance(0.9)) hold(order[i % order.size()], stage);
    }
    for (std::size_t i = 0; random_.chance(0.3) && i < 3; ++i)  // some hold more
      hold(one_of(order), one_of(live_));
    for (std::size_t n = 0; n < in_.nodes.size(); ++n) {
      auto& held = plan_.stage_of[n];
      in_.nodes[n].max_stages =
          static_cast<std::uint32_t>(std::max<std::size_t>(held.size(), 1)) + (random_.chance(0.2) ? 1 : 0);
      in_.nodes[n].can_be_origin = (!held.empty() && held[0] == 0) || random_.chance(0.85);
      in_.nodes[n].draining = random_.chance(0.1) && can_drain(n);
      if (in_.nodes[n].draining && !fixed) held.clear();
    }
    if (fixed) in_.stage_of = plan_.stage_of;
    if (random_.chance(0.3)) {
      in_.stage_sizes.assign(in_.stages, 0);
      for (std::uint32_t s = 0; s < in_.stages; ++s)
        in_.stage_sizes[s] = static_cast<std::uint32_t>(holders(s, true).size());
    }
  }
  void hold(std::size_t node, std::uint32_t stage) {
    auto& held = plan_.stage_of[node];
    if (const auto at = std::lower_bound(held.begin(), held.end(), stage); at == held.end() || *at != stage)
      held.insert(at, stage);
  }
  std::vector<std::uint32_t> holders(std::uint32_t stage, bool draining_too = false) const {
    std::vector<std::uint32_t> nodes;
    for (std::uint32_t n = 0; n < in_.nodes.size(); ++n)
      if (std::binary_search(plan_.stage_of[n].begin(), plan_.stage_of[n].end(), stage) &&
          (draining_too || !in_.nodes[n].draining))
        nodes.push_back(n);
    return nodes;
  }
  bool can_drain(std::size_t node) const {
    return std::all_of(plan_.stage_of[node].begin(), plan_.stage_of[node].end(),
                       [&](std::uint32_t stage) { return holders(stage).size() > 1; });
  }

  void draw_numbers() {
    in_.microbatches = between(1, sizes_.microbatches_max);
    if ((!in_.placement_fixed() && in_.stage_sizes.empty()) || !random_.chance(0.5)) return;
    const auto origins = static_cast<std::uint32_t>(holders(0).size());
    in_.microbatches_per_origin = between(1, std::max(1u, in_.microbatches / origins));
    in_.microbatches = in_.microbatches_per_origin * origins;
  }

  void draw_routes() {
    const std::vector<std::uint32_t> origins = holders(0);
    const bool swaps = random_.chance(0.6);
    const bool pairs = swaps && in_.stages >= 5 && length_ >= 3;
    for (std::uint32_t m = 0; m < in_.microbatches; ++m) {
      const std::uint32_t origin =
          in_.microbatches_per_origin > 0 ? origins[m % origins.size()] : one_of(origins);
      Path path{m, {{0, origin}}};
      for (const std::uint32_t stage : stages_of_route(m, swaps, pairs))
        path.hops.push_back({stage, one_of(holders(stage))});
      plan_.paths.push_back(std::move(path));
    }
  }
  std::vector<std::uint32_t> stages_of_route(std::uint32_t m, bool swaps, bool pairs) {
    std::vector<std::uint32_t> rest(live_.begin() + 1, live_.end());
    shuffle(rest);
    const std::array<std::uint32_t, 2> pair =
        m % 2 == 0 ? std::array{1u, 2u} : std::array{in_.stages - 2, in_.stages - 1};
    // So that there is a share of swaps to ask for.
    const auto first = [&](std::uint32_t s) { return pairs && (s == pair[0] || s == pair[1]); };
    std::stable_partition(rest.begin(), rest.end(), first);
    rest.resize(length_ - 1);
    std::sort(rest.begin(), rest.end());
    for (std::size_t i = 1; swaps && i < rest.size(); ++i)
      if (pairs ? m % 4 < 2 && first(rest[i - 1]) && first(rest[i]) : random_.chance(0.2))
        std::swap(rest[i - 1], rest[i]);
    return rest;
  }

  // Swaps and jumps: what the routes need, or somewhat more.
  void limit_orders() {
    std::uint32_t most_swaps = 0, furthest_back = 1, longest_jump = 1;
    for (const Path& path : plan_.paths) {
      std::uint32_t swaps = 0, furthest = 0;
      for (const PathHop& hop : path.hops) {
        if (hop.stage < furthest) {
          ++swaps;
          furthest_back = std::max(furthest_back, furthest - hop.stage);
        } else {
          longest_jump = std::max(longest_jump, hop.stage - furthest);
          furthest = hop.stage;
        }
      }
      most_swaps = std::max(most_swaps, swaps);
    }
    in_.max_swaps = most_swaps + between(0, 1);
    in_.max_swap_distance = furthest_back + between(0, 1);
    if (random_.chance(0.4)) in_.max_skip = longest_jump + between(0, 1);
    if (random_.chance(0.5)) ask_for_swaps();
  }
  void ask_for_swaps() {
    in_.min_swap_share = 1e-6;  // so that there are pairs
    std::uint32_t least = in_.microbatches;
    const std::vector<SwapPair> pairs = swap_pairs(in_);
    for (const SwapPair& pair : pairs) {
      std::array<std::uint32_t, 2> orders{0, 0};
      for (const Path& path : plan_.paths) {
        const auto at = [&](std::uint32_t stage) {
          return std::find_if(path.hops.begin(), path.hops.end(),
                              [&](const PathHop& hop) { return hop.stage == stage; });
        };
        const auto low = at(pair.low), high = at(pair.high);
        if (low != path.hops.end() && high != path.hops.end()) ++orders[low < high ? 0 : 1];
      }
      least = std::min({least, orders[0], orders[1]});
    }
    in_.min_swap_share =
        pairs.empty() ? 0 : static_cast<double>(least) / static_cast<double>(in_.microbatches);
  }

  void limit_visits() {
    free_visits(in_);
    if (random_.chance(0.3)) return;
    const std::int64_t slack = random_.chance(0.3) ? 0 : random_.between(1, 4);
    for (std::uint32_t s = 1; s < in_.stages; ++s) {
      std::int64_t visits = 0;
      for (const Path& path : plan_.paths)
        visits += std::count_if(path.hops.begin(), path.hops.end(),
                                [&](const PathHop& hop) { return hop.stage == s; });
      in_.min_visits[s] =
          static_cast<std::uint32_t>(std::max<std::int64_t>(0, visits - random_.between(0, slack)));
      in_.max_visits[s] = static_cast<std::uint32_t>(
          std::min<std::int64_t>(in_.max_visits[s], visits + random_.between(0, slack)));
    }
  }

  void draw_memory() {
    if (random_.chance(0.3)) {
      for (std::uint32_t s = 0; s < in_.stages; ++s) {
        in_.stage_memory_bytes.push_back(between(0, 1000));
        in_.slot_memory_bytes.push_back(between(0, 100));
      }
      for (std::size_t n = 0; n < in_.nodes.size(); ++n) {
        if (random_.chance(0.3)) continue;
        std::uint64_t needed = 1;
        for (const std::uint32_t stage : plan_.stage_of[n]) needed += in_.stage_memory_bytes[stage];
        in_.nodes[n].memory_bytes = needed + between(100, 400);
      }
    }
    for (std::size_t n = 0; n < in_.nodes.size(); ++n)
      plan_.slots.push_back(in_.slots_with(n, plan_.stage_of[n]));
  }

  // Links that the routes do without.
  void cut_links() {
    if (!random_.chance(0.4)) return;
    const std::size_t count = in_.nodes.size();
    std::vector<char> used(count * count, 0);
    for (const Path& path : plan_.paths)
      for (std::size_t h = 0; h < path.hops.size(); ++h) {
        const std::size_t a = path.hops[h].node, b = path.hops[(h + 1) % path.hops.size()].node;
        used[a * count + b] = used[b * count + a] = 1;
      }
    for (std::size_t n = 0; n < count; ++n)  // who holds a stage can be reached, even if no route does it
      for (std::size_t i = 1; i < count && !plan_.stage_of[n].empty(); ++i)
        if (const std::size_t other = (n + i) % count; !in_.nodes[other].draining) {
          used[n * count + other] = used[other * count + n] = 1;
          break;
        }
    const double share = random_.chance(0.2) ? 1 : 0.2;
    for (std::size_t link = 0; link < used.size(); ++link)
      if (used[link] == 0 && link / count != link % count && random_.chance(share))
        in_.transfer_us[link] = Instance::no_link;
  }

  void draw_averaging() {
    for (std::uint32_t s = 0; s < in_.stages; ++s)
      in_.stage_bytes.push_back(random_.chance(0.1) ? 0 : between(1, 2'000'000));
    for (std::size_t link = 0; link < in_.transfer_us.size(); ++link) {
      const bool linked = in_.transfer_us[link] != Instance::no_link && link % (in_.nodes.size() + 1) != 0;
      in_.latency_us.push_back(linked ? random_.between(0, 50'000) : 0);
      in_.bandwidth.push_back(linked ? 1e5 * (1 + 99 * random_.uniform()) : 0);
    }
  }

  net::Random& random_;
  const InstanceSizes sizes_;
  Instance in_;
  PathPlan plan_;
  std::vector<std::uint32_t> live_;  // stages
  std::uint32_t length_ = 1;         // of routes
};

}  // namespace

RandomInstance random_instance(net::Random& random, const InstanceSizes& sizes) {
  return Drawing(random, sizes).draw();
}

Instance random_swarm(net::Random& random, std::int64_t nodes, std::int64_t stages,
                      std::int64_t microbatches) {
  Instance swarm;
  swarm.stages = static_cast<std::uint32_t>(stages);
  swarm.stages_per_path = static_cast<std::uint32_t>((2 * stages + 2) / 3);
  swarm.max_swaps = 2;
  swarm.microbatches = static_cast<std::uint32_t>(microbatches);
  swarm.stage_out.assign(swarm.stages, 0);
  swarm.task_gap_us = 1'000;
  for (std::int64_t n = 0; n < nodes; ++n) {
    InstanceNode node;
    node.id = std::to_string(n);
    node.slots = 3;
    node.forward_us.assign(swarm.stages, random.between(10'000, 30'000));
    node.backward_us.assign(swarm.stages, node.forward_us[0] * 3 / 2);
    node.head_us = node.forward_us[0] / 4;
    swarm.nodes.push_back(std::move(node));
  }
  for (std::int64_t from = 0; from < nodes; ++from)
    for (std::int64_t to = 0; to < nodes; ++to)
      swarm.transfer_us.push_back(from == to ? 0 : static_cast<std::int32_t>(random.between(2'000, 60'000)));
  share_visits(swarm, even_weights(swarm.stages), 1);
  return swarm;
}

}  // namespace sidestep::scheduler::testing

#include "scheduler/planner/bound.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "scheduler/planner/rules.h"

namespace sidestep::scheduler {
namespace {

constexpr std::int64_t far = std::numeric_limits<std::int64_t>::max() / 4;

// Everything here takes the best case for what it leaves open; each comment says why no plan can be better.
class Bounding {
 public:
  explicit Bounding(const Instance& instance)
      : in_(instance), length_(instance.route_length()), may_(instance.node_count() * instance.stages, 0) {
    for (std::size_t n = 0; n < in_.node_count(); ++n)
      for (std::uint32_t stage = 0; stage < in_.stages; ++stage)
        may_[n * in_.stages + stage] = may_visit(n, stage);
    for (std::size_t a = 0; a < in_.node_count(); ++a)
      for (std::size_t b = 0; b < in_.node_count(); ++b)
        if (a != b) shortest_leg_ = std::min(shortest_leg_, ways(a, b));
    several_ = several_stages();
    if (shortest_leg_ == far || several_) shortest_leg_ = 0;
  }

  Bound bound() {
    shortest_routes();
    route();
    work();
    slots();
    return best_;
  }

 private:
  void take(std::int64_t us, const char* why) {
    if (us > best_.step_us) best_ = {us, why};
  }

  bool may_visit(std::size_t node, std::uint32_t stage) const {
    if (in_.nodes[node].draining || in_.stage_out[stage] != 0) return false;
    if (!in_.placement_fixed()) return in_.may_hold(node, stage);
    const auto& held = in_.stage_of[node];
    return std::find(held.begin(), held.end(), stage) != held.end();
  }
  bool may(std::size_t node, std::uint32_t stage) const { return may_[node * in_.stages + stage] != 0; }
  // Whether a microbatch may stay on one node for two hops.
  bool several_stages() const {
    if (in_.placement_fixed())
      return std::any_of(in_.stage_of.begin(), in_.stage_of.end(),
                         [](const auto& held) { return held.size() > 1; });
    return std::any_of(in_.nodes.begin(), in_.nodes.end(),
                       [](const InstanceNode& node) { return node.max_stages > 1; });
  }
  std::int64_t ways(std::size_t a, std::size_t b) const {
    const std::int32_t there = in_.transfer(a, b), back = in_.transfer(b, a);
    return there == Instance::no_link || back == Instance::no_link ? far : std::int64_t{there} + back;
  }
  std::int64_t compute(std::size_t node, std::uint32_t stage) const {
    return in_.nodes[node].forward_us[stage] + in_.nodes[node].backward_us[stage];
  }

  // route_us_[origin]: no microbatch from this origin takes less, if it never waits.
  void shortest_routes() {
    const std::size_t count = in_.node_count();
    hop_.assign(count, far);
    for (std::size_t n = 0; n < count; ++n)
      for (std::uint32_t stage = 1; stage < in_.stages; ++stage)
        if (may(n, stage)) hop_[n] = std::min(hop_[n], compute(n, stage));
    const std::int64_t shortest_hop = *std::min_element(hop_.begin(), hop_.end());
    step_ = shortest_hop >= far ? far : shortest_hop + shortest_leg_;
    route_us_.assign(count, far);
    for (std::size_t origin = 0; origin < count; ++origin) {
      if (!may(origin, 0)) continue;
      const std::int64_t own = compute(origin, 0) + in_.nodes[origin].head_us;
      const std::int64_t hops = length_ - 1;
      if (hops == 0) {
        route_us_[origin] = own;
        continue;
      }
      if (step_ >= far) continue;
      // Every hop is at least the cheapest one, every transfer the shortest one.
      const std::int64_t least = own + hops * step_ + shortest_leg_;
      origin_ = origin;
      route_ = far;
      looks_left_ = looks_max / count;
      used_.assign(count, 0);
      seen_.assign(in_.stages, 0);
      follow(origin, own, 0, 0, hops);
      // Out of looks: what is left open may be as short as anything.
      route_us_[origin] = looks_left_ > 0 ? route_ : least;
    }
  }

  // All ways on from here to the end of a route, shorter ones than the best only. Where the placement is
  // fixed they keep the order of stages, else nodes are just different.
  void follow(std::size_t here, std::int64_t us, std::uint32_t furthest, std::uint32_t swaps,
              std::int64_t hops) {
    if (looks_left_ == 0) return;
    looks_left_ -= std::min(looks_left_, in_.node_count());
    if (hops == 0) {
      const std::int64_t home = here == origin_ ? 0 : ways(here, origin_);
      if (home < far) route_ = std::min(route_, us + home);
      return;
    }
    if (us + hops * step_ + shortest_leg_ >= route_) return;
    for (std::size_t n = 0; n < in_.node_count(); ++n) {
      const std::int64_t leg = n == here ? 0 : ways(here, n);
      if (hop_[n] >= far || leg >= far || us + leg + hop_[n] + (hops - 1) * step_ + shortest_leg_ >= route_)
        continue;
      if (!in_.placement_fixed()) {
        if (!several_ && (n == origin_ || used_[n] != 0)) continue;
        used_[n] = 1;
        follow(n, us + leg + hop_[n], 0, 0, hops - 1);
        used_[n] = 0;
        continue;
      }
      looks_left_ -= std::min(looks_left_, in_.stage_of[n].size());
      for (const std::uint32_t stage : in_.stage_of[n]) {
        if (stage == 0 || !may(n, stage) || seen_[stage] != 0) continue;
        const bool swap = stage < furthest;
        if (swap ? swaps == in_.max_swaps || furthest - stage > in_.max_swap_distance
                 : stage - furthest > in_.max_skip)
          continue;
        seen_[stage] = 1;
        follow(n, us + leg + compute(n, stage), std::max(furthest, stage), swaps + (swap ? 1 : 0), hops - 1);
        seen_[stage] = 0;
      }
    }
  }

  std::int64_t shortest_route() const { return *std::min_element(route_us_.begin(), route_us_.end()); }

  void route() {
    if (shortest_route() < far) take(shortest_route(), "the shortest route");
  }

  // The nodes that may hold a stage share its visits; nothing reaches a stage before the shortest way to it,
  // nor ends before the way back from it. All stages together: every node of the swarm.
  void work() {
    double all_rate = 0;
    for (std::size_t n = 0; n < in_.node_count(); ++n) {
      std::int64_t least = far;
      for (std::uint32_t stage = 0; stage < in_.stages; ++stage)
        if (may(n, stage)) least = std::min(least, compute(n, stage) + 2 * in_.task_gap_us);
      if (least < far) all_rate += 1 / static_cast<double>(least);
    }
    const double visits = static_cast<double>(in_.microbatches) * length_;
    if (all_rate > 0)
      take(static_cast<std::int64_t>(visits / all_rate) - in_.task_gap_us, "the work of all nodes together");
    const std::int64_t outside = outside_us();
    for (std::uint32_t stage = 0; stage < in_.stages; ++stage) {
      if (in_.stage_out[stage] != 0) continue;
      const std::vector<std::int64_t> costs = visit_costs(stage);
      const double rate = best_rate(stage, costs);
      if (rate <= 0) continue;
      const double least = stage == 0 ? in_.microbatches : in_.min_visits[stage];
      take(
          static_cast<std::int64_t>(least / rate) - in_.task_gap_us + (stage != 0 && least > 0 ? outside : 0),
          "the work of one stage's nodes");
    }
  }
  // What each node is busy for a visit, where it may hold the stage.
  std::vector<std::int64_t> visit_costs(std::uint32_t stage) const {
    std::vector<std::int64_t> costs;
    for (std::size_t n = 0; n < in_.node_count(); ++n)
      if (may(n, stage))
        costs.push_back(compute(n, stage) + 2 * in_.task_gap_us +
                        (stage == 0 ? in_.nodes[n].head_us + in_.task_gap_us : 0));
    return costs;
  }
  // Visits a microsecond of the fastest nodes, as many as the stage can have.
  double best_rate(std::uint32_t stage, std::vector<std::int64_t> costs) const {
    std::sort(costs.begin(), costs.end());
    costs.resize(std::min(costs.size(), most_holders(stage)));
    double rate = 0;
    for (const std::int64_t cost : costs) rate += 1 / static_cast<double>(cost);
    return rate;
  }
  std::size_t most_holders(std::uint32_t stage) const {
    if (!in_.stage_sizes.empty()) return in_.stage_sizes[stage];
    if (in_.placement_fixed() || several_) return in_.node_count();
    return in_.node_count() - std::min<std::size_t>(in_.node_count() - 1, in_.live_stages() - 1);
  }
  // Before the first microbatch comes to a stage past 0 and after the last one has left it for good: the
  // origin's own tasks, and a transfer each way. They may be of two origins, on two links.
  std::int64_t outside_us() const {
    std::int64_t forward = far, backward = far, leg = far;
    for (std::size_t n = 0; n < in_.node_count(); ++n) {
      if (!may(n, 0)) continue;
      forward = std::min(forward, in_.nodes[n].forward_us[0]);
      backward = std::min(backward, in_.nodes[n].backward_us[0]);
    }
    for (std::size_t a = 0; a < in_.node_count() && !several_; ++a)
      for (std::size_t b = 0; b < in_.node_count(); ++b)
        if (a != b && ways(a, b) < far) leg = std::min<std::int64_t>(leg, in_.transfer(a, b));
    return forward >= far ? 0 : forward + backward + (leg >= far ? 0 : 2 * leg);
  }

  // Each microbatch keeps a slot of its origin for its whole route. An origin with z slots and k
  // microbatches: the slots are kept k routes together, and they begin and end one after the other.
  void slots() {
    struct Origin {
      std::int64_t route_us, slots, stagger_us;
    };
    std::vector<Origin> origins;
    for (std::size_t n = 0; n < in_.node_count(); ++n) {
      if (!may(n, 0) || route_us_[n] >= far) continue;
      const std::vector<std::uint32_t> held =
          in_.placement_fixed() ? in_.stage_of[n] : std::vector<std::uint32_t>{0};
      origins.push_back({route_us_[n], in_.slots_with(n, held), compute(n, 0) + 2 * in_.task_gap_us});
    }
    if (origins.empty()) return;
    const auto least = [](const Origin& origin, std::int64_t count) {
      // With as many microbatches as slots or more, the first ones begin, and the last ones end, a task
      // apart.
      const std::int64_t z = origin.slots, apart = count >= z ? z * (z - 1) / 2 * origin.stagger_us : 0;
      return std::max(origin.route_us, (count * origin.route_us + apart) / std::max<std::int64_t>(z, 1));
    };
    if (in_.microbatches_per_origin != 0) {
      std::vector<std::int64_t> each;
      for (const Origin& origin : origins) each.push_back(least(origin, in_.microbatches_per_origin));
      std::sort(each.begin(), each.end());
      // A fixed placement has all of these origins, a free one as many as the best.
      const std::size_t count =
          std::min<std::size_t>(each.size(), in_.microbatches / in_.microbatches_per_origin);
      if (count > 0) take(each[count - 1], "the slots of an origin");
      return;
    }
    // Shared as it suits: within any time the best origins end no more than this.
    double rate = 0;
    std::sort(origins.begin(), origins.end(),
              [](const Origin& a, const Origin& b) { return a.slots * b.route_us > b.slots * a.route_us; });
    origins.resize(std::min(origins.size(), most_holders(0)));
    for (const Origin& origin : origins)
      rate +=
          static_cast<double>(origin.slots) / static_cast<double>(std::max<std::int64_t>(origin.route_us, 1));
    take(static_cast<std::int64_t>(in_.microbatches / rate), "the slots of the origins");
  }

  const Instance& in_;
  const std::uint32_t length_;
  std::vector<char> may_;
  std::int64_t shortest_leg_ = far;
  bool several_ = false;           // a node may hold several stages
  std::vector<std::int64_t> hop_;  // by node: its cheapest visit past stage 0
  std::int64_t step_ = far;        // the cheapest hop and the shortest transfer
  std::vector<std::int64_t> route_us_;
  Bound best_;

  // The route that is followed.
  static constexpr std::size_t looks_max = 50'000'000;  // nodes looked at, over all origins
  std::size_t origin_ = 0;
  std::int64_t route_ = far;
  std::size_t looks_left_ = 0;
  std::vector<char> used_, seen_;  // nodes, stages
};

}  // namespace

Bound lower_bound(const Instance& instance) {
  if (!check_feasible(instance).ok()) return {};
  return Bounding(instance).bound();
}

}  // namespace sidestep::scheduler

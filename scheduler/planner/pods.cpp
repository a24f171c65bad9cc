#include "scheduler/planner/pods.h"

#include <algorithm>

#include "scheduler/planner/construct.h"
#include "scheduler/planner/cutting.h"
#include "scheduler/planner/evaluator.h"
#include "scheduler/planner/search.h"

namespace sidestep::scheduler {
namespace {

std::size_t pod_size(const Instance& instance) {
  // Two nodes a stage let a pod suit its replicas to the demand.
  return std::max<std::size_t>(24, 2 * std::size_t{instance.live_stages()});
}

// A group of nodes as an instance of its own, with its share of the microbatches.
class Pod {
 public:
  Pod(const Instance& whole, std::vector<std::size_t> nodes)
      : whole_(whole), nodes_(std::move(nodes)), instance_(whole) {
    instance_.nodes.clear();
    instance_.transfer_us.clear();
    // Rings of averaging go through all pods: what they take comes as an option of the search.
    instance_.latency_us.clear();
    instance_.bandwidth.clear();
    instance_.stage_bytes.clear();
    for (const std::size_t a : nodes_) {
      instance_.nodes.push_back(whole.nodes[a]);
      for (const std::size_t b : nodes_) instance_.transfer_us.push_back(whole.transfer(a, b));
    }
    for (std::size_t n = 0; n < nodes_.size(); ++n)
      speed_ += 1 / static_cast<double>(visit_us(instance_, n, instance_.stages - 1));
  }

  double speed() const { return speed_; }
  std::size_t node(std::size_t index) const { return nodes_[index]; }
  const Draft& draft() const { return draft_; }
  std::int64_t cost_us() const { return cost_us_; }
  std::uint64_t evaluations() const { return evaluations_; }

  Status construct(const StageSets& sets) {
    std::vector<std::uint32_t> visits(instance_.stages, 0);
    for (const auto& route : sets)
      for (const std::uint32_t stage : route) ++visits[stage];
    limit_visits(visits);
    Draft draft(instance_, sets.size());
    if (Status status = place_stages(instance_, draft); !status.ok()) return status;
    choose_nodes(instance_, sets, draft);
    draft_ = std::move(draft);
    return {};
  }

  void search(SearchOptions options, Temperatures temperatures, const Budget& budget, double work, double us,
              double until) {
    limit_visits(draft_.visits());
    Search search(instance_, std::move(draft_), std::move(options));
    const double work_before = work_, us_before = us_;
    const std::int64_t begin_us = budget.now_us();
    search.anneal(
        temperatures,
        [&] {
          work_ = work_before + static_cast<double>(search.work());
          us_ = us_before + static_cast<double>(budget.now_us() - begin_us);
          return std::max(work > 0 ? work_ / work : 0, us > 0 ? us_ / us : 0);
        },
        until);
    draft_ = search.best();
    cost_us_ = search.best_us();
    evaluations_ += search.evaluations();
  }

  // The last microbatch goes to another pod.
  std::vector<std::uint32_t> give() {
    std::vector<std::uint32_t> route;
    for (std::size_t i = 0; i < draft_.length; ++i) route.push_back(draft_.row(draft_.rows - 1)[i].stage);
    draft_.hops.resize(draft_.hops.size() - draft_.length);
    cost_us_ -= cost_us_ / static_cast<std::int64_t>(draft_.rows);  // as it will be, about
    --draft_.rows;
    return route;
  }
  void take(const std::vector<std::uint32_t>& route) {
    std::vector<std::int64_t> load_us = loads_us(instance_, draft_);
    cost_us_ += cost_us_ / static_cast<std::int64_t>(std::max<std::size_t>(draft_.rows, 1));
    draft_.hops.resize(draft_.hops.size() + draft_.length);
    choose_nodes_of_row(instance_, route, draft_.rows++, load_us, draft_);
  }

 private:
  // The pod's part of the whole's limits: where all pods keep theirs, the whole's are kept.
  void limit_visits(const std::vector<std::uint32_t>& visits) {
    instance_.microbatches = visits[0];
    const std::vector<std::uint32_t> targets = visit_targets(whole_);
    for (std::uint32_t stage = 0; stage < instance_.stages; ++stage) {
      const std::uint64_t mine = visits[stage], all = std::max(targets[stage], 1u);
      const std::uint64_t least = whole_.min_visits[stage];
      const std::uint64_t most = std::min(whole_.max_visits[stage], whole_.microbatches);
      instance_.min_visits[stage] = static_cast<std::uint32_t>((mine * least + all - 1) / all);
      instance_.max_visits[stage] = static_cast<std::uint32_t>(mine * most / all);
    }
  }

  const Instance& whole_;
  const std::vector<std::size_t> nodes_;
  Instance instance_;
  Draft draft_;
  double speed_ = 0;  // visits a microsecond
  std::int64_t cost_us_ = 0;
  double work_ = 0, us_ = 0;  // spent
  std::uint64_t evaluations_ = 0;
};

class Pods {
 public:
  Pods(const Instance& instance, const SearchOptions& options) : instance_(instance), options_(options) {
    for (auto& nodes : cut_nodes(instance, pod_size(instance)))
      pods_.emplace_back(instance, std::move(nodes));
  }

  // Microbatches by speed, evenly mixed.
  Status begin() {
    if (pods_.size() < 2) return Status::refused("one pod only");
    Result<StageSets> sets = choose_stage_sets(instance_);
    if (!sets.ok()) return sets.status();
    double whole = 0;
    for (const Pod& pod : pods_) whole += pod.speed();
    std::vector<double> credit(pods_.size(), 0);
    std::vector<StageSets> parts(pods_.size());
    for (auto& route : sets.value()) {
      for (std::size_t p = 0; p < pods_.size(); ++p) credit[p] += pods_[p].speed() / whole;
      const auto most = std::max_element(credit.begin(), credit.end());
      *most -= 1;
      parts[static_cast<std::size_t>(most - credit.begin())].push_back(std::move(route));
    }
    for (std::size_t p = 0; p < pods_.size(); ++p) {
      if (parts[p].empty()) return Status::refused("a pod has no microbatch");
      if (Status status = pods_[p].construct(parts[p]); !status.ok()) return status;
    }
    return {};
  }

  void search(std::size_t lanes, const Budget& budget, BudgetShare share, const PlanMachine& machine) {
    constexpr int rounds = 10;
    const auto count = static_cast<double>(pods_.size());
    const double work = budget.work_of(share) / count;
    const double us = budget.us_of(share) * static_cast<double>(lanes) / count;
    for (int round = 1; round <= rounds; ++round) {
      SearchOptions options = options_;
      if (instance_.counts_averaging()) options.after_us = averaging_us(instance_, merge().held);
      machine.run_all(pods_.size(), [&](std::size_t p) {
        SearchOptions own = options;
        own.seed = options_.seed * 0x9e3779b97f4a7c15u + p + (static_cast<std::uint64_t>(round) << 32);
        pods_[p].search(std::move(own), {}, budget, work, us, static_cast<double>(round) / rounds);
      });
      if (round < rounds) balance();
    }
  }

  Draft merge() const {
    Draft draft(instance_, 0);
    struct Place {
      double when;
      std::size_t pod, row;
    };
    std::vector<Place> places;
    for (std::size_t p = 0; p < pods_.size(); ++p) {
      const Draft& part = pods_[p].draft();
      for (std::size_t n = 0; n < part.held.size(); ++n)
        for (const std::uint32_t stage : part.held[n]) draft.hold(pods_[p].node(n), stage);
      for (std::size_t r = 0; r < part.rows; ++r)
        places.push_back({(static_cast<double>(r) + 0.5) / static_cast<double>(part.rows), p, r});
    }
    std::stable_sort(places.begin(), places.end(),
                     [](const Place& a, const Place& b) { return a.when < b.when; });
    for (const Place& place : places)
      for (std::size_t i = 0; i < draft.length; ++i) {
        const PathHop hop = pods_[place.pod].draft().row(place.row)[i];
        draft.hops.push_back({hop.stage, static_cast<std::uint32_t>(pods_[place.pod].node(hop.node))});
      }
    draft.rows = places.size();
    return draft;
  }

  std::uint64_t evaluations() const {
    std::uint64_t sum = 0;
    for (const Pod& pod : pods_) sum += pod.evaluations();
    return sum;
  }

 private:
  // Microbatches go from the slowest pod to the fastest while that should help.
  void balance() {
    if (instance_.microbatches_per_origin != 0) return;
    const std::size_t most = 1 + instance_.microbatches / 10;
    for (std::size_t i = 0; i < most; ++i) {
      const auto [fast, slow] = std::minmax_element(
          pods_.begin(), pods_.end(), [](const Pod& a, const Pod& b) { return a.cost_us() < b.cost_us(); });
      if (slow->draft().rows < 2) return;
      const auto of = [](const Pod& pod) {
        return pod.cost_us() / static_cast<std::int64_t>(pod.draft().rows);
      };
      if (slow->cost_us() - of(*slow) < fast->cost_us() + of(*fast)) return;
      fast->take(slow->give());
    }
  }

  const Instance& instance_;
  const SearchOptions& options_;
  std::vector<Pod> pods_;
};

}  // namespace

bool wants_pods(const Instance& instance) {
  // What is tied to the whole (sizes, numbers of each origin, shares of swaps) is not cut up.
  if (!instance.stage_sizes.empty() || instance.microbatches_per_origin != 0 || instance.min_swap_share > 0)
    return false;
  return instance.node_count() >= 2 * pod_size(instance);
}

Result<LaneResult> plan_in_pods(const Instance& instance, const SearchOptions& options, std::size_t lanes,
                                const Budget& budget, BudgetShare share, const PlanMachine& machine) {
  Pods pods(instance, options);
  if (Status status = pods.begin(); !status.ok()) return status;
  pods.search(lanes, budget, share, machine);
  LaneResult result;
  result.best = pods.merge();
  result.evaluations = pods.evaluations();
  return result;
}

}  // namespace sidestep::scheduler

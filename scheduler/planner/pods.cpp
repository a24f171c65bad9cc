#include "scheduler/planner/pods.h"

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>
#include <optional>

#include "scheduler/planner/construct.h"
#include "scheduler/planner/cutting.h"
#include "scheduler/planner/evaluator.h"
#include "scheduler/planner/search.h"

namespace sidestep::scheduler {
namespace {

// Nodes of a pod: one for each stage, and half as many again where the demand is; in larger pods numbers of
// nodes follow the demand more closely, in smaller ones the search gets further.
std::size_t least_pod(const Instance& instance) {
  return std::max<std::size_t>(12, 3 * std::size_t{instance.live_stages()} / 2);
}

// A group of nodes as an instance of its own, with its share of the microbatches.
class Pod {
 public:
  Pod(const Instance& whole, const std::vector<std::uint32_t>& targets, std::vector<std::size_t> nodes)
      : whole_(whole), nodes_(std::move(nodes)), instance_(whole), targets_(targets) {
    const auto drop = []<class T>(std::vector<T>& values) { std::vector<T>().swap(values); };
    drop(instance_.nodes);
    drop(instance_.transfer_us);
    // Rings of averaging go through all pods: what they take comes as an option of the search.
    drop(instance_.latency_us);
    drop(instance_.bandwidth);
    drop(instance_.stage_bytes);
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
    due_ = visits;
    limit_visits();
    Result<Draft> draft = scheduler::construct(instance_, sets);
    if (!draft.ok()) return draft.status();
    draft_ = std::move(draft).value();
    cost_us_ = step_us(instance_, draft_, after_us_);
    return {};
  }

  // What was spent counts from here.
  void begin_share() { work_ = us_ = 0; }

  void search(SearchOptions options, const Budget& budget, BudgetShare share, double work, double us,
              double until) {
    limit_visits();
    after_us_ = options.after_us;
    Search search(instance_, std::move(draft_), std::move(options));
    const double work_before = work_, us_before = us_;
    const std::int64_t begin_us = budget.now_us();
    search.anneal(
        suited(Temperatures{}, draft_tasks(search.draft()), work, us),
        [&] {
          if (budget.stopped()) return 1.0;
          work_ = work_before + static_cast<double>(search.work());
          us_ = us_before + static_cast<double>(budget.now_us() - begin_us);
          // Whatever the pod's own part: the share is over for all at once.
          if (us > 0 && budget.progress(share, 0, 1) >= 1) return 1.0;
          return std::max(work > 0 ? work_ / work : 0, us > 0 ? us_ / us : 0);
        },
        until);
    draft_ = search.best();
    cost_us_ = search.best_us();
    evaluations_ += search.evaluations();
  }

  // A microbatch goes over to another pod, one that leaves both within their limits, if that makes the slower
  // of them faster. False if there is none, and nothing has changed.
  bool give_one(Pod& other) {
    for (std::size_t r = draft_.rows; r-- > 0;) {
      std::vector<std::uint32_t> route;
      for (std::size_t i = 0; i < draft_.length; ++i) route.push_back(draft_.row(r)[i].stage);
      if (!bears(route, false) || !other.bears(route, true)) continue;
      Draft mine = draft_, theirs = other.draft_;
      mine.hops.erase(mine.hops.begin() + static_cast<std::ptrdiff_t>(r * mine.length),
                      mine.hops.begin() + static_cast<std::ptrdiff_t>((r + 1) * mine.length));
      --mine.rows;
      std::vector<std::int64_t> load_us = loads_us(other.instance_, theirs);
      theirs.hops.resize(theirs.hops.size() + theirs.length);
      choose_nodes_of_row(other.instance_, route, theirs.rows++, load_us, theirs);
      const std::int64_t their_cost_us = step_us(other.instance_, theirs, after_us_);
      if (their_cost_us >= cost_us_) return false;
      for (const std::uint32_t stage : route) {
        --due_[stage];
        ++other.due_[stage];
      }
      draft_ = std::move(mine);
      other.draft_ = std::move(theirs);
      cost_us_ = step_us(instance_, draft_, after_us_);
      other.cost_us_ = their_cost_us;
      return true;
    }
    return false;
  }

 private:
  // The pod's part of the whole's limits, for what is due to it: where all pods keep theirs, the whole's are
  // kept.
  std::uint32_t least(std::uint32_t stage, std::uint64_t due) const {
    const std::uint64_t all = std::max(targets_[stage], 1u);
    return static_cast<std::uint32_t>((due * whole_.get().min_visits[stage] + all - 1) / all);
  }
  std::uint32_t most(std::uint32_t stage, std::uint64_t due) const {
    const std::uint64_t all = std::max(targets_[stage], 1u);
    return static_cast<std::uint32_t>(
        due * std::min(whole_.get().max_visits[stage], whole_.get().microbatches) / all);
  }
  bool bears(const std::vector<std::uint32_t>& route, bool coming) const {
    const std::vector<std::uint32_t> visits = draft_.visits();
    return std::all_of(route.begin(), route.end(), [&](std::uint32_t stage) {
      if (!coming && due_[stage] == 0) return false;
      const std::uint32_t due = coming ? due_[stage] + 1 : due_[stage] - 1;
      const std::uint32_t then = coming ? visits[stage] + 1 : visits[stage] - 1;
      return then >= least(stage, due) && then <= most(stage, due);
    });
  }
  void limit_visits() {
    instance_.microbatches = due_[0];
    for (std::uint32_t stage = 0; stage < instance_.stages; ++stage) {
      instance_.min_visits[stage] = least(stage, due_[stage]);
      instance_.max_visits[stage] = most(stage, due_[stage]);
    }
  }

  std::reference_wrapper<const Instance> whole_;
  std::vector<std::size_t> nodes_;
  Instance instance_;
  std::vector<std::uint32_t> targets_;  // visits of the whole, by stage
  std::vector<std::uint32_t> due_;      // this pod's part of them
  Draft draft_;
  std::vector<std::int64_t> after_us_;  // averaging of the whole, as the latest search took it
  double speed_ = 0;                    // visits a microsecond
  std::int64_t cost_us_ = 0;
  double work_ = 0, us_ = 0;  // spent
  std::uint64_t evaluations_ = 0;
};

class Pods {
 public:
  Pods(const Instance& instance, const SearchOptions& options, std::size_t size)
      : instance_(instance), options_(options) {
    const std::vector<std::uint32_t> targets = visit_targets(instance);
    for (auto& nodes : cut_nodes(instance, size)) pods_.emplace_back(instance, targets, std::move(nodes));
  }

  std::size_t count() const { return pods_.size(); }
  std::int64_t cost_us() const { return slowest()->cost_us(); }

  // Microbatches by what each pod gets done: first by the speed of its nodes, then by what was seen.
  Status begin(const StageSets& sets, const std::function<bool()>& late, const PlanMachine& machine) {
    constexpr int tries = 3;
    std::vector<double> rates;
    for (const Pod& pod : pods_) rates.push_back(pod.speed());
    std::vector<Pod> best;
    std::int64_t best_us = 0;
    for (int i = 0; i < tries && (i == 0 || !late()); ++i) {
      const std::vector<StageSets> parts = deal(sets, rates);
      std::vector<Status> problems(pods_.size());
      machine.run_all(pods_.size(), [&](std::size_t p) {
        problems[p] =
            parts[p].empty() ? Status::refused("a pod has no microbatch") : pods_[p].construct(parts[p]);
      });
      for (const Status& problem : problems)
        if (!problem.ok()) return problem;
      if (i == 0 || cost_us() < best_us) {
        best = pods_;
        best_us = cost_us();
      }
      for (std::size_t p = 0; p < pods_.size(); ++p)
        rates[p] = static_cast<double>(parts[p].size()) /
                   static_cast<double>(std::max<std::int64_t>(pods_[p].cost_us(), 1));
    }
    pods_ = std::move(best);
    return {};
  }

  void search(std::size_t lanes, const Budget& budget, BudgetShare share, const PlanMachine& machine) {
    constexpr int rounds = 8;
    for (Pod& pod : pods_) pod.begin_share();
    const auto count = static_cast<double>(pods_.size());
    const double work = budget.work_of(share) / count;
    const double us = budget.us_of(share) * static_cast<double>(lanes) / count;
    for (int round = 1; round <= rounds; ++round) {
      SearchOptions options = options_.get();
      if (instance_.get().counts_averaging()) options.after_us = averaging_us(instance_, merge().held);
      machine.run_all(pods_.size(), [&](std::size_t p) {
        SearchOptions own = options;
        own.seed = options_.get().seed * 0x9e3779b97f4a7c15u + p + (static_cast<std::uint64_t>(round) << 32);
        pods_[p].search(std::move(own), budget, share, work, us, static_cast<double>(round) / rounds);
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
  std::vector<Pod>::const_iterator slowest() const {
    return std::max_element(pods_.begin(), pods_.end(),
                            [](const Pod& a, const Pod& b) { return a.cost_us() < b.cost_us(); });
  }

  // In proportion, evenly mixed.
  static std::vector<StageSets> deal(const StageSets& sets, const std::vector<double>& rates) {
    const double whole = std::accumulate(rates.begin(), rates.end(), 0.0);
    std::vector<double> credit(rates.size(), 0);
    std::vector<StageSets> parts(rates.size());
    for (const auto& route : sets) {
      for (std::size_t p = 0; p < rates.size(); ++p) credit[p] += rates[p] / whole;
      const auto most = std::max_element(credit.begin(), credit.end());
      *most -= 1;
      parts[static_cast<std::size_t>(most - credit.begin())].push_back(route);
    }
    return parts;
  }

  // Microbatches go from the slowest pod to the fastest as long as that helps.
  void balance() {
    if (instance_.get().microbatches_per_origin != 0) return;
    const std::size_t most = 1 + instance_.get().microbatches / 50;
    for (std::size_t i = 0; i < most; ++i) {
      const auto [fast, slow] = std::minmax_element(
          pods_.begin(), pods_.end(), [](const Pod& a, const Pod& b) { return a.cost_us() < b.cost_us(); });
      if (slow->draft().rows < 2 || !slow->give_one(*fast)) return;
    }
  }

  std::reference_wrapper<const Instance> instance_;
  std::reference_wrapper<const SearchOptions> options_;
  std::vector<Pod> pods_;
};

}  // namespace

bool wants_pods(const Instance& instance) {
  // What is tied to the whole (sizes, numbers of each origin, shares of swaps) is not cut up.
  if (!instance.stage_sizes.empty() || instance.microbatches_per_origin != 0 || instance.min_swap_share > 0)
    return false;
  return instance.node_count() >= 3 * least_pod(instance);
}

Result<LaneResult> plan_in_pods(const Instance& instance, const SearchOptions& options, std::size_t lanes,
                                const Budget& budget, BudgetShare share, const PlanMachine& machine) {
  Result<StageSets> sets = choose_stage_sets(instance);
  if (!sets.ok()) return sets.status();
  // Cuts of several sizes get a short search each, the best goes on.
  constexpr double tried = 0.1;
  constexpr std::array<std::size_t, 4> sizes{1, 2, 4, 8};
  const double whole = share.end - share.begin;
  std::optional<Pods> best;
  std::uint64_t evaluations = 0;
  const auto late = [&] { return budget.progress(share, 0, 1) >= tried; };
  for (const std::size_t times : sizes) {
    if (best && late()) break;
    Pods pods(instance, options, times * least_pod(instance));
    if (pods.count() < 2 || !pods.begin(sets.value(), late, machine).ok()) continue;
    pods.search(lanes, budget, {share.begin, share.begin + tried * whole}, machine);
    share.begin += tried * whole;
    evaluations += pods.evaluations();
    if (!best || pods.cost_us() < best->cost_us()) best.emplace(std::move(pods));
  }
  if (!best) return Status::refused("the nodes cannot be cut into pods");
  evaluations -= best->evaluations();
  best->search(lanes, budget, share, machine);
  LaneResult result;
  result.best = best->merge();
  result.evaluations = evaluations + best->evaluations();
  return result;
}

}  // namespace sidestep::scheduler

#include "scheduler/planner/lanes.h"

#include <algorithm>
#include <cmath>
#include <memory>

namespace sidestep::scheduler {

double Budget::progress(BudgetShare share, std::uint64_t work, std::size_t lanes) const {
  if (stopped()) return 1;
  double done = 0;
  if (work_ > 0) {
    const double mine = static_cast<double>(work_) * (share.end - share.begin) / static_cast<double>(lanes);
    done = static_cast<double>(work) / std::max(mine, 1.0);
  }
  if (budget_us_ > 0 && now_us_) {
    const double whole = static_cast<double>(now_us_() - begin_us_) / static_cast<double>(budget_us_);
    done = std::max(done, (whole - share.begin) / (share.end - share.begin));
  }
  return std::max(done, 0.0);
}

std::size_t draft_tasks(const Draft& draft) { return draft.rows * (2 * draft.length + 1); }

namespace {

// Evaluations a hop: the fewer, the colder; the more, the oftener it is heated up again.
constexpr double few = 10, enough = 10'000;

double evaluations_a_hop(std::size_t tasks, double work, double us) {
  constexpr double tasks_a_us = 25;  // that a lane simulates, about
  const double count = static_cast<double>(std::max<std::size_t>(tasks, 1));
  return (work > 0 ? work : us * tasks_a_us) / count / (count / 2);
}

}  // namespace

Temperatures suited(Temperatures temperatures, std::size_t tasks, double work, double us) {
  const double ratio =
      std::clamp(std::log(evaluations_a_hop(tasks, work, us) / few) / std::log(enough / few), 0.0, 1.0);
  temperatures.hot = temperatures.cold * std::pow(temperatures.hot / temperatures.cold, ratio);
  return temperatures;
}

LaneResult run_lanes(const Instance& instance, const std::vector<Draft>& drafts, const SearchOptions& options,
                     std::size_t lanes, Temperatures temperatures, const Budget& budget, BudgetShare share,
                     const PlanMachine& machine) {
  // Lanes that have fallen behind go on from the best one's state; those that began elsewhere have time until
  // the middle.
  constexpr int meetings = 8;
  constexpr double behind = 1.01;
  // What is hot enough for one instance makes another forget its start: every second lane is cooler.
  constexpr double cooler = 4;
  const double work = budget.work_of(share) / static_cast<double>(lanes), us = budget.us_of(share);
  temperatures = suited(temperatures, draft_tasks(drafts.front()), work, us);
  // Of a small instance there is time to look about again and again.
  int restarts = 1;
  while (restarts < meetings && evaluations_a_hop(draft_tasks(drafts.front()), work, us) >
                                    4 * enough * static_cast<double>(restarts))
    restarts *= 2;
  std::vector<std::unique_ptr<Search>> searches(lanes);
  machine.run_all(lanes, [&](std::size_t lane) {
    SearchOptions own = options;
    own.seed = options.seed * 0x9e3779b97f4a7c15u + lane;
    searches[lane] = std::make_unique<Search>(instance, drafts[lane % drafts.size()], own);
  });
  for (int meeting = 1; meeting <= meetings; ++meeting) {
    const int round = (meeting - 1) * restarts / meetings;
    machine.run_all(lanes, [&](std::size_t lane) {
      Search& search = *searches[lane];
      Temperatures own = temperatures;
      if (lane % 2 == 1) own.hot = std::max(own.hot / cooler, own.cold);
      search.anneal(
          own, [&] { return budget.progress(share, search.work(), lanes) * restarts - round; },
          static_cast<double>(meeting) / meetings * restarts - round);
    });
    const auto best = std::min_element(searches.begin(), searches.end(), [](const auto& a, const auto& b) {
      return a->cost_us() < b->cost_us();
    });
    if (meeting == meetings) break;
    if (drafts.size() > 1 && meeting < meetings / 2) continue;
    for (auto& search : searches)
      if (static_cast<double>(search->cost_us()) > behind * static_cast<double>((*best)->cost_us()))
        search->adopt((*best)->draft());
  }
  LaneResult result;
  const auto best = std::min_element(searches.begin(), searches.end(), [](const auto& a, const auto& b) {
    return a->best_us() < b->best_us();
  });
  result.best = (*best)->best();
  for (const auto& search : searches) result.evaluations += search->evaluations();
  return result;
}

}  // namespace sidestep::scheduler

// Several searches side by side that meet now and then: how a budget is spent. Deterministic for a work
// budget with any number of threads, as every lane counts its own work and lanes meet when all have done it.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/planner/draft.h"
#include "scheduler/planner/planner.h"
#include "scheduler/planner/search.h"

namespace sidestep::scheduler {

// A share of what make_plan may spend: from `begin` to `end` of the whole, 0 to 1.
struct BudgetShare {
  double begin = 0;
  double end = 1;
};

class Budget {
 public:
  Budget(const PlanOptions& options, const PlanMachine& machine)
      : work_(options.work),
        budget_us_(options.budget_us),
        now_us_(machine.now_us),
        stop_(machine.stop),
        begin_us_(machine.now_us ? machine.now_us() : 0) {}

  // How much of the share is spent, 0 to 1 and more, by one of `lanes` that has done this work for it.
  double progress(BudgetShare share, std::uint64_t work, std::size_t lanes) const;
  // The share's work and time, 0 where it does not count, and a clock that stands still where time does not.
  double work_of(BudgetShare share) const { return static_cast<double>(work_) * (share.end - share.begin); }
  double us_of(BudgetShare share) const {
    return static_cast<double>(budget_us_) * (share.end - share.begin);
  }
  std::int64_t now_us() const { return now_us_ ? now_us_() : 0; }
  bool stopped() const { return stop_ && stop_(); }

 private:
  std::uint64_t work_;
  std::int64_t budget_us_;
  std::function<std::int64_t()> now_us_;
  std::function<bool()> stop_;
  std::int64_t begin_us_;
};

// Temperatures for what can be spent on a draft with so many tasks: the fewer evaluations a hop, the colder.
// `work` or `us` is 0 where it does not count.
Temperatures suited(Temperatures temperatures, std::size_t tasks, double work, double us);
std::size_t draft_tasks(const Draft& draft);

struct LaneResult {
  Draft best;
  std::uint64_t evaluations = 0;
};

// Improves the drafts, of which each lane takes one in turn, within the share of the budget. `options.seed`
// names the first lane's numbers. Precondition: at least one draft.
LaneResult run_lanes(const Instance& instance, const std::vector<Draft>& drafts, const SearchOptions& options,
                     std::size_t lanes, Temperatures temperatures, const Budget& budget, BudgetShare share,
                     const PlanMachine& machine);

}  // namespace sidestep::scheduler

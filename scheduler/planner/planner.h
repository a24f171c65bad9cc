// Makes plans: placement, routes, their order and slots, so that a step ends as early as possible. Anytime:
// it stops at a budget with the best so far. The same instance, options and work budget give the same plan
// with any number of threads.
//
// Pure: time and threads come in. Errors: refused, with every rule that cannot hold and by how much.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "net/status.h"
#include "scheduler/planner/instance.h"
#include "scheduler/planner/path_plan.h"

namespace sidestep::scheduler {

enum class PlanMethod : std::uint8_t {
  full,          // no skipping: every route visits every live stage in order; the best plan for that
  dtfm,          // as published: columns of one node a stage, whole pipelines side by side
  random_skip,   // skipping by capacity alone: no link, no time is looked at
  no_collision,  // routes for links and speeds, as if no two microbatches ever met
  sidestep       // all of it
};
std::string_view to_string(PlanMethod method);
std::optional<PlanMethod> plan_method(std::string_view name);

struct PlanMachine {
  // Calls job(0) ... job(count - 1), in any order, on as many threads as there are; returns when all are
  // done.
  std::function<void(std::size_t count, const std::function<void(std::size_t)>& job)> run_all;
  // Monotonic; empty: time does not count.
  std::function<std::int64_t()> now_us;
  // Asked often, by several threads: true spends what is left of the budget. Empty: never.
  std::function<bool()> stop = {};
  std::size_t threads = 1;
};
// One thread, no clock.
PlanMachine plain_machine();

struct PlanOptions {
  PlanMethod method = PlanMethod::sidestep;
  std::uint64_t seed = 1;
  std::uint64_t work = 0;      // tasks simulated, over all lanes; 0: no limit. Deterministic
  std::int64_t budget_us = 0;  // of time; 0: no limit. Either this or `work` is given
  std::uint32_t lanes =
      2;  // searches that meet from time to time; part of the result. Time: one a thread at most
  // The placement is the start's or the instance's.
  bool keep_placement = false;
  // After a change: repaired first, then improved. A node that then holds a stage it did not hold pays the
  // transfer of that stage's bytes, spread over this many steps.
  std::optional<PathPlan> start;
  double horizon_steps = 100;
};

struct PlanResult {
  PathPlan plan;
  std::int64_t makespan_us = 0;
  std::int64_t step_us = 0;
  std::int64_t first_us =
      0;  // step time of the constructive plan, or of the repaired start; 0: it never ends
  std::int64_t moving_us = 0;  // penalty of the nodes that have to move weights
  std::uint64_t evaluations = 0;
};

Result<PlanResult> make_plan(const Instance& instance, const PlanOptions& options,
                             const PlanMachine& machine);

// The start, made to keep the rules of the instance again (a node lost, joined, draining or changed) with as
// few changes as it takes; in milliseconds. Nodes are matched by id, `before` is the start's instance.
Result<PathPlan> repair(const Instance& instance, const Instance& before, const PathPlan& start);

// What an instance becomes for a method: `full` and `dtfm` visit every live stage.
Instance for_method(const Instance& instance, PlanMethod method);

}  // namespace sidestep::scheduler

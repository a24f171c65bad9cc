// What `sidestep plan` found, for people and as JSON. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "net/status.h"
#include "scheduler/planner/bound.h"
#include "scheduler/planner/evaluator.h"
#include "scheduler/planner/instance.h"
#include "scheduler/planner/path_plan.h"

namespace sidestep::cli {

// A plan, where it came from and what it is worth.
struct PlanRow {
  std::string name;  // "start" or a method
  Status problem;    // why there is no plan; then the rest is empty
  scheduler::PathPlan plan;
  scheduler::Evaluation evaluation;
  scheduler::Bound bound;
  // Of those that were searched for.
  struct Search {
    std::uint64_t evaluations = 0;
    double seconds = 0;
    std::int64_t first_us = 0, moving_us = 0;
  };
  std::optional<Search> search;
};

// How far the step time is above its bound, as a share of the bound; 0 without a bound.
double gap(const PlanRow& row);
// Of all nodes, also those without a task.
double mean_utilisation(const scheduler::Evaluation& evaluation);

// A line for each plan, and below them what rules they break; "-" where there is no plan.
std::string plans_table(const scheduler::Instance& instance, const std::vector<PlanRow>& rows);
nlohmann::ordered_json plans_json(const scheduler::Instance& instance, const std::vector<PlanRow>& rows);

// All about one plan: figures, broken rules, waits without end, and a line for each node.
std::string evaluation_page(const scheduler::Instance& instance, const PlanRow& row);
nlohmann::ordered_json evaluation_json(const scheduler::Instance& instance, const PlanRow& row);

// Whether it ends and keeps all rules.
bool is_sound(const scheduler::Evaluation& evaluation);

// JSON with a line for each entry of a list or an object of the first level, as people read and compare it.
std::string by_lines(const nlohmann::ordered_json& json);

}  // namespace sidestep::cli

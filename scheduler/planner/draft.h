// A plan while it is being made: routes of equal length in one array, quick to copy and to change.
// A value; used by the planner's own files only.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/planner/instance.h"
#include "scheduler/planner/path_plan.h"

namespace sidestep::scheduler {

struct Draft {
  std::size_t rows = 0;
  std::size_t length = 0;                           // hops of each row
  std::vector<PathHop> hops;                        // [row * length + hop], rows in order of injection
  std::vector<std::vector<std::uint32_t>> held;     // stages by node, ascending
  std::vector<std::vector<std::uint32_t>> holders;  // nodes by stage, ascending

  Draft() = default;
  // No holders yet; hops are all zero.
  Draft(const Instance& instance, std::size_t row_count);

  PathHop* row(std::size_t r) { return &hops[r * length]; }
  const PathHop* row(std::size_t r) const { return &hops[r * length]; }

  void hold(std::size_t node, std::uint32_t stage);
  void release(std::size_t node, std::uint32_t stage);
  std::vector<std::uint32_t> visits() const;

  PathPlan plan(const Instance& instance) const;
};

// Precondition: every path has the instance's route length and keeps to the plan's placement.
Draft draft_of(const Instance& instance, const PathPlan& plan);

}  // namespace sidestep::scheduler

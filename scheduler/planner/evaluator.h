// The cost model (design.md): what a step of a plan takes, event by event. One model for planner, simulator
// and the predictions that users see. Pure; an Evaluator is used by one thread at a time.
//
// Where the model leaves room it is read so: a task takes at least 1 us; a slot is taken when the forward
// starts and free when the backward ends; a transfer starts when its task ends. The ring of a stage is its
// nodes in the order of the instance. The lead origin is the first origin in that order; a stage's round
// trip to it is that of its furthest node. A stage that no microbatch visits does not average. A transfer
// where there is no link takes Instance::time_us_max; the broken rules say so.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scheduler/planner/instance.h"
#include "scheduler/planner/path_plan.h"
#include "scheduler/planner/rules.h"

namespace sidestep::scheduler {

enum class TaskKind : std::uint8_t { forward, head, backward };

struct TaskTime {
  TaskKind kind = TaskKind::forward;
  std::uint32_t path = 0;  // index in PathPlan::paths
  std::uint32_t stage = 0;
  std::uint32_t node = 0;
  std::int64_t ready_us = 0;  // its input has arrived
  std::int64_t begin_us = 0;
  std::int64_t end_us = 0;
};

struct NodeUse {
  std::uint32_t tasks = 0;
  std::int64_t busy_us = 0;  // tasks and the gaps after them
  double utilisation = 0;    // busy_us over the makespan
};

// A forward that waits for a slot which never comes free.
struct SlotWait {
  std::uint32_t path = 0;
  std::uint32_t stage = 0;
  std::uint32_t node = 0;
};

struct Evaluation {
  bool finishes = false;         // false: microbatches wait for each other's slots in a ring
  std::int64_t makespan_us = 0;  // when the last backward ends; of what ran, if it does not finish
  std::int64_t step_us = 0;      // with averaging, where the instance counts it; else the makespan
  std::vector<std::int64_t> stage_averaged_us;  // by stage: its averaging and round trip; empty: not counted
  std::vector<TaskTime> tasks;                  // in order of their beginning
  std::vector<NodeUse> nodes;
  std::vector<SlotWait> waits;     // empty if it finishes
  std::vector<BrokenRule> broken;  // empty: every rule holds
};

// How long averaging takes each stage after its last backward, and the round trip to the lead origin.
// Zeroes where the instance does not count averaging.
std::vector<std::int64_t> averaging_us(const Instance& instance,
                                       const std::vector<std::vector<std::uint32_t>>& stage_of);

// Precondition: the plan's indices are within the instance, and its hops are at nodes that may compute them.
Evaluation evaluate(const Instance& instance, const PathPlan& plan);

}  // namespace sidestep::scheduler

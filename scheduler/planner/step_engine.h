// The event-driven simulation of one step (design.md, Cost model), built for being asked again and again: a
// plan is kept as rows of tasks, a search changes rows and runs. What a reader may want of a run (task times,
// the critical path) comes through an observer. Only the evaluator and the planner include this.
//
// Owner: one thread at a time. The instance must outlive it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "net/assert.h"
#include "scheduler/planner/evaluator.h"
#include "scheduler/planner/instance.h"
#include "scheduler/planner/path_plan.h"

namespace sidestep::scheduler {

class StepEngine {
 public:
  static constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();

  // A task of a row: forwards of its hops, the head, backwards of its hops in reverse.
  struct Task {
    std::int64_t begin_us = 0;  // if nothing waited
    std::int64_t tail_us = 0;   // from its beginning to the end of the step, if nothing waited
    std::int32_t duration_us = 0;
    std::int32_t leg_us = 0;  // transfer to where the next task is
    std::uint16_t node = 0;
    std::uint16_t stage = 0;
    TaskKind kind = TaskKind::forward;
  };

  // Rows of at most `hops_max` hops, empty at first; no slots; nothing after a last backward.
  StepEngine(const Instance& instance, std::size_t rows, std::size_t hops_max);

  // What a stage adds after its last backward (averaging_us), by stage. Rows are to be set again.
  void set_after(std::vector<std::int64_t> after_us) { after_us_ = std::move(after_us); }
  void set_slots(std::size_t node, std::uint32_t slots) { slots_[node] = slots; }
  void set_row(std::size_t row, const PathHop* hops, std::size_t count);

  std::size_t tasks_of(std::size_t row) const { return 2 * lengths_[row] + 1; }
  const Task& task(std::size_t row, std::size_t index) const { return tasks_[row * stride_ + index]; }
  // The row without any waiting.
  std::int64_t chain_us(std::size_t row) const { return tasks_[row * stride_].tail_us; }
  // What a step takes if microbatches never wait for each other: the mean row, and the work of the busiest
  // node.
  std::int64_t estimate_us();
  // Of the latest run: rows that were not done when it ended.
  std::size_t open_rows() const { return open_; }
  // Tasks that runs have started since the beginning: the measure of work.
  std::uint64_t starts() const { return starts_; }

  // When the step ends, or `never`: it would end after `limit_us`, or microbatches wait for each other's
  // slots for ever. observer(row, index of the task, ready, begin, end) is called for every task as it
  // begins.
  template <class Observer>
  std::int64_t run(std::int64_t limit_us, Observer&& observer);
  std::int64_t run(std::int64_t limit_us) {
    return run(limit_us, [](auto...) {});
  }

 private:
  static constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();
  static constexpr int row_bits = 17, node_bits = 12;
  static_assert((std::size_t{1} << row_bits) > Instance::microbatches_max);
  static_assert((std::size_t{1} << node_bits) >= Instance::nodes_max);

  struct Machine {
    std::int64_t free_us = 0;
    std::int64_t left_us = 0;      // of its tasks that have not begun, gaps included
    std::int64_t tail_us = 0;      // after its last task the step goes on for at least this
    std::int64_t earliest_us = 0;  // nothing can be there before
    std::int64_t kept_us = 0;      // its slots are taken for, all together, if nothing waits
    std::int64_t forward_us = 0;   // its shortest ones, the gap included
    std::int64_t backward_us = 0;
    std::uint32_t visits = 0;
    std::uint32_t slots = 0;
    std::uint32_t forwards = none;  // rows that wait to run forward: first of a list
    std::uint32_t backwards = none;
  };
  // A row has one task at a time; it waits in the list of that task's node.
  struct Row {
    std::uint64_t key = 0;  // arrival, then place in the plan
    std::uint32_t next = none;
    std::uint32_t at = 0;  // index of its task
  };

  static std::int64_t arrival(std::uint64_t key) { return static_cast<std::int64_t>(key >> row_bits); }
  static std::uint64_t key_of(std::int64_t arrival_us, std::size_t row) {
    return (static_cast<std::uint64_t>(arrival_us) << row_bits) | row;
  }

  bool begin_run(std::int64_t limit_us);
  static std::int64_t least_kept(const Machine& machine, std::int64_t gap_us);
  void wait(Machine& machine, std::uint32_t row, TaskKind kind, std::int64_t arrival_us) {
    rows_[row].key = key_of(arrival_us, row);
    std::uint32_t* place = kind == TaskKind::forward ? &machine.forwards : &machine.backwards;
    while (*place != none && rows_[*place].key < rows_[row].key) place = &rows_[*place].next;
    rows_[row].next = *place;
    *place = row;
  }
  // When the node begins its next task, as far as is known now, into the tournament of all nodes.
  void decide(std::size_t node) {
    const Machine& machine = machines_[node];
    std::int64_t first = never;
    if (machine.backwards != none) first = arrival(rows_[machine.backwards].key);
    if (machine.forwards != none && machine.slots > 0)
      first = std::min(first, arrival(rows_[machine.forwards].key));
    std::uint64_t best =
        first == never ? ~std::uint64_t{0}
                       : (static_cast<std::uint64_t>(std::max(first, machine.free_us)) << node_bits) | node;
    for (std::size_t i = leaves_ + node;; i >>= 1) {
      tournament_[i] = best;
      if (i == 1) return;
      best = std::min(best, tournament_[i ^ 1]);
    }
  }

  const Instance& instance_;
  std::size_t stride_;  // tasks kept a row
  std::size_t leaves_;  // of the tournament, a power of two
  std::vector<std::int64_t> after_us_;
  std::vector<std::uint32_t> slots_;
  std::vector<std::uint32_t> lengths_;  // hops, by row
  std::vector<Task> tasks_;
  std::vector<Machine> machines_;
  std::vector<Row> rows_;
  std::vector<std::uint64_t> tournament_;
  std::uint64_t starts_ = 0;
  std::size_t open_ = 0;
};

template <class Observer>
std::int64_t StepEngine::run(std::int64_t limit_us, Observer&& observer) {
  if (!begin_run(limit_us)) return never;
  std::int64_t end_of_step = 0;
  open_ = rows_.size();
  const std::int64_t gap = instance_.task_gap_us;
  while (open_ > 0) {
    const std::uint64_t next = tournament_[1];
    if (next == ~std::uint64_t{0}) return never;
    const auto now = static_cast<std::int64_t>(next >> node_bits);
    const std::size_t node = next & ((std::size_t{1} << node_bits) - 1);
    Machine& machine = machines_[node];
    std::uint32_t index;
    if (machine.backwards != none && arrival(rows_[machine.backwards].key) <= now) {
      index = machine.backwards;
      machine.backwards = rows_[index].next;
    } else {
      index = machine.forwards;
      machine.forwards = rows_[index].next;
      --machine.slots;
    }
    Row& row = rows_[index];
    const Task* task = &tasks_[index * stride_ + row.at];
    ++starts_;
    if (now + task->tail_us > limit_us) return never;
    const std::int64_t end = now + task->duration_us;
    machine.left_us -= task->duration_us + gap;
    if (machine.left_us > 0 && end + machine.left_us + machine.tail_us > limit_us) return never;
    observer(index, row.at, arrival(row.key), now, end);
    machine.free_us = end + gap;
    if (task->kind == TaskKind::backward) {
      ++machine.slots;
      end_of_step = std::max(end_of_step, end + after_us_[task->stage]);
    }
    if (++row.at == tasks_of(index)) {
      --open_;
    } else {
      const std::size_t there = task[1].node;
      wait(machines_[there], index, task[1].kind, end + task->leg_us);
      if (there != node) decide(there);
    }
    decide(node);
  }
  return end_of_step;
}

}  // namespace sidestep::scheduler

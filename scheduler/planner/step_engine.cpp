#include "scheduler/planner/step_engine.h"

#include <bit>

namespace sidestep::scheduler {

StepEngine::StepEngine(const Instance& instance, std::size_t rows, std::size_t hops_max)
    : instance_(instance),
      stride_(2 * hops_max + 1),
      leaves_(std::bit_ceil(std::max<std::size_t>(instance.node_count(), 2))),
      after_us_(instance.stages, 0),
      slots_(instance.node_count(), 0),
      lengths_(rows, 0),
      tasks_(rows * stride_),
      machines_(instance.node_count()),
      rows_(rows),
      tournament_(2 * leaves_) {
  SIDESTEP_ASSERT(rows <= Instance::microbatches_max && instance.node_count() <= Instance::nodes_max);
}

void StepEngine::set_row(std::size_t row, const PathHop* hops, std::size_t count) {
  SIDESTEP_ASSERT(count > 0 && 2 * count + 1 <= stride_);
  lengths_[row] = static_cast<std::uint32_t>(count);
  Task* const tasks = &tasks_[row * stride_];
  const auto fill = [&](Task& task, TaskKind kind, const PathHop& hop, std::int64_t duration_us) {
    task.kind = kind;
    task.node = static_cast<std::uint16_t>(hop.node);
    task.stage = static_cast<std::uint16_t>(hop.stage);
    task.duration_us = static_cast<std::int32_t>(duration_us);
  };
  for (std::size_t i = 0; i < count; ++i) {
    const InstanceNode& node = instance_.nodes[hops[i].node];
    fill(tasks[i], TaskKind::forward, hops[i], node.forward_us[hops[i].stage]);
    fill(tasks[2 * count - i], TaskKind::backward, hops[i], node.backward_us[hops[i].stage]);
  }
  fill(tasks[count], TaskKind::head, hops[0], instance_.nodes[hops[0].node].head_us);
  std::int64_t tail = 0;
  for (std::size_t i = 2 * count + 1; i-- > 0;) {
    Task& task = tasks[i];
    task.leg_us = 0;
    if (i < 2 * count && tasks[i + 1].node != task.node) {
      const std::int32_t leg = instance_.transfer(task.node, tasks[i + 1].node);
      // Where there is no link a plan that needs one is far worse than any other.
      task.leg_us = leg == Instance::no_link ? static_cast<std::int32_t>(Instance::time_us_max) : leg;
    }
    tail += task.duration_us + task.leg_us;
    if (task.kind == TaskKind::backward) tail = std::max(tail, task.duration_us + after_us_[task.stage]);
    task.tail_us = tail;
  }
  std::int64_t begin = 0;
  for (std::size_t i = 0; i <= 2 * count; ++i) {
    tasks[i].begin_us = begin;
    begin += tasks[i].duration_us + tasks[i].leg_us;
  }
}

// How long slots of the node are taken at the least, all together, those not yet or no longer needed
// included: tasks of one node cannot begin or end at once.
std::int64_t StepEngine::least_kept(const Machine& machine, std::int64_t gap_us) {
  const std::int64_t slots = machine.slots;
  if (machine.visits < slots) return 0;
  return machine.kept_us + slots * (slots - 1) / 2 * (machine.forward_us + machine.backward_us) +
         (machine.visits - slots) * gap_us;
}

// Sets the stage. False if sums alone say that the step ends after the limit: the work of a node, or how long
// its slots are taken.
bool StepEngine::begin_run(std::int64_t limit_us) {
  for (std::size_t n = 0; n < machines_.size(); ++n)
    machines_[n] = {0, 0, never, never, 0, never, never, 0, slots_[n], none, none};
  std::fill(tournament_.begin(), tournament_.end(), ~std::uint64_t{0});
  const std::int64_t gap = instance_.task_gap_us;
  for (std::size_t r = rows_.size(); r-- > 0;) {
    const Task* const tasks = &tasks_[r * stride_];
    const std::size_t count = lengths_[r];
    const std::int64_t whole = tasks[0].tail_us;
    if (whole > limit_us) return false;
    for (std::size_t i = 0; i < count; ++i) {
      const Task& forward = tasks[i];
      const Task& backward = tasks[2 * count - i];
      Machine& machine = machines_[forward.node];
      const std::int64_t visit_us = forward.duration_us + backward.duration_us + 2 * gap;
      machine.left_us += visit_us;
      machine.forward_us = std::min(machine.forward_us, forward.duration_us + gap);
      machine.backward_us = std::min(machine.backward_us, backward.duration_us + gap);
      machine.tail_us = std::min(machine.tail_us, backward.tail_us - backward.duration_us);
      machine.earliest_us = std::min(machine.earliest_us, forward.begin_us);
      machine.kept_us += backward.begin_us + backward.duration_us - forward.begin_us;
      ++machine.visits;
    }
    machines_[tasks[count].node].left_us += tasks[count].duration_us + gap;
    // In the order of the plan, all of them there at the start.
    Machine& origin = machines_[tasks[0].node];
    rows_[r] = {key_of(0, r), origin.forwards, 0};
    origin.forwards = static_cast<std::uint32_t>(r);
  }
  for (std::size_t n = 0; n < machines_.size(); ++n) {
    const Machine& machine = machines_[n];
    if (machine.left_us == 0) continue;
    if (limit_us != never) {
      const std::int64_t room = limit_us - machine.earliest_us - machine.tail_us;
      if (machine.left_us - gap > room) return false;
      if (machine.slots > 0 && least_kept(machine, gap) / machine.slots > room) return false;
    }
    if (machine.forwards != none) decide(n);
  }
  return true;
}

std::int64_t StepEngine::estimate_us() {
  if (!begin_run(never)) return never;
  starts_ += tasks_.size();  // about what a run costs
  std::int64_t chains = 0, work = 0;
  for (std::size_t r = 0; r < rows_.size(); ++r) chains += chain_us(r);
  for (const Machine& machine : machines_) work = std::max(work, machine.left_us);
  return chains / static_cast<std::int64_t>(std::max<std::size_t>(rows_.size(), 1)) + work;
}

}  // namespace sidestep::scheduler

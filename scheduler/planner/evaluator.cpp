#include "scheduler/planner/evaluator.h"

#include <algorithm>
#include <cmath>

#include "scheduler/planner/step_engine.h"

namespace sidestep::scheduler {
namespace {

std::vector<std::vector<std::uint32_t>> holders(std::uint32_t stages,
                                                const std::vector<std::vector<std::uint32_t>>& stage_of) {
  std::vector<std::vector<std::uint32_t>> nodes(stages);
  for (std::size_t n = 0; n < stage_of.size(); ++n)
    for (const std::uint32_t stage : stage_of[n]) nodes[stage].push_back(static_cast<std::uint32_t>(n));
  return nodes;
}

}  // namespace

std::vector<std::int64_t> averaging_us(const Instance& instance,
                                       const std::vector<std::vector<std::uint32_t>>& stage_of) {
  std::vector<std::int64_t> after(instance.stages, 0);
  const auto nodes = holders(instance.stages, stage_of);
  if (!instance.counts_averaging() || nodes[0].empty()) return after;
  const std::size_t lead = nodes[0].front();
  const auto link = [&](std::size_t from, std::size_t to) { return from * instance.node_count() + to; };
  for (std::uint32_t stage = 0; stage < instance.stages; ++stage) {
    const auto& ring = nodes[stage];
    double slowest = std::numeric_limits<double>::infinity();
    std::int64_t longest = 0, round_trip = 0;
    for (std::size_t i = 0; i < ring.size(); ++i) {
      const std::size_t next = ring[(i + 1) % ring.size()];
      if (next != ring[i]) {
        slowest = std::min(slowest, instance.bandwidth[link(ring[i], next)]);
        longest = std::max(longest, instance.latency_us[link(ring[i], next)]);
      }
      if (ring[i] != lead)
        round_trip = std::max(
            round_trip, instance.latency_us[link(ring[i], lead)] + instance.latency_us[link(lead, ring[i])]);
    }
    const auto n = static_cast<double>(ring.size());
    double us = 0;
    if (ring.size() > 1)
      us = 2 * (n - 1) / n * static_cast<double>(instance.stage_bytes[stage]) / slowest * 1e6 +
           2 * (n - 1) * static_cast<double>(longest);
    // A ring without a link takes as long as anything can.
    const double most = 1e3 * static_cast<double>(Instance::time_us_max);
    after[stage] = std::llround(us < most ? us : most) + round_trip;
  }
  return after;
}

Evaluation evaluate(const Instance& instance, const PathPlan& plan) {
  std::size_t hops_max = 1;
  for (const Path& path : plan.paths) hops_max = std::max(hops_max, path.hops.size());
  StepEngine engine(instance, plan.paths.size(), hops_max);
  for (std::size_t n = 0; n < plan.slots.size(); ++n) engine.set_slots(n, plan.slots[n]);
  for (std::size_t r = 0; r < plan.paths.size(); ++r)
    engine.set_row(r, plan.paths[r].hops.data(), plan.paths[r].hops.size());

  Evaluation result;
  result.tasks.reserve(plan.paths.size() * (2 * hops_max + 1));
  result.nodes.resize(instance.node_count());
  std::vector<std::int64_t> last_backward_us(instance.stages, -1);
  std::vector<std::size_t> done(plan.paths.size(), 0);
  const std::int64_t end = engine.run(
      StepEngine::never,
      [&](std::size_t row, std::size_t index, std::int64_t ready, std::int64_t begin, std::int64_t ended) {
        const StepEngine::Task& task = engine.task(row, index);
        result.tasks.push_back(
            {task.kind, static_cast<std::uint32_t>(row), task.stage, task.node, ready, begin, ended});
        NodeUse& use = result.nodes[task.node];
        ++use.tasks;
        use.busy_us += ended - begin + instance.task_gap_us;
        ++done[row];
        result.makespan_us = std::max(result.makespan_us, ended);
        if (task.kind == TaskKind::backward)
          last_backward_us[task.stage] = std::max(last_backward_us[task.stage], ended);
      });
  result.finishes = end != StepEngine::never;
  result.step_us = result.makespan_us;
  if (instance.counts_averaging()) {
    result.stage_averaged_us = averaging_us(instance, plan.stage_of);
    for (std::uint32_t stage = 0; stage < instance.stages; ++stage)
      if (last_backward_us[stage] >= 0)
        result.step_us = std::max(result.step_us, last_backward_us[stage] + result.stage_averaged_us[stage]);
  }
  for (NodeUse& use : result.nodes)
    if (result.makespan_us > 0)
      use.utilisation = static_cast<double>(use.busy_us) / static_cast<double>(result.makespan_us);
  for (std::size_t r = 0; r < plan.paths.size() && !result.finishes; ++r)
    if (done[r] < engine.tasks_of(r)) {
      const StepEngine::Task& task = engine.task(r, done[r]);
      result.waits.push_back({static_cast<std::uint32_t>(r), task.stage, task.node});
    }
  result.broken = broken_rules(instance, plan);
  return result;
}

}  // namespace sidestep::scheduler

#include "tests/unit/planner/naive_evaluator.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

namespace sidestep::scheduler::testing {
namespace {

struct Task {
  TaskKind kind;
  std::uint32_t stage;
  std::uint32_t node;
  std::int64_t takes_us;
};

// A microbatch on its way: all its tasks in order, and which one comes next.
struct Traveller {
  std::vector<Task> tasks;
  std::size_t next = 0;
  std::int64_t ready_us = 0;  // when the next task's input is there

  bool done() const { return next == tasks.size(); }
};

struct Machine {
  std::int64_t idle_from_us = 0;
  std::uint32_t slots_taken = 0;
  std::optional<std::int64_t> frees_slot_us;  // when the backward under way ends
};

class NaiveRun {
 public:
  NaiveRun(const Instance& instance, const PathPlan& plan) : instance_(instance), plan_(plan) {
    for (const Path& path : plan.paths) travellers_.push_back(traveller(path));
    machines_.resize(instance.node_count());
    result_.nodes.resize(instance.node_count());
  }

  Evaluation run() {
    instants_.insert(0);
    while (!instants_.empty()) {
      const std::int64_t now = *instants_.begin();
      instants_.erase(instants_.begin());
      for (Machine& machine : machines_)
        if (machine.frees_slot_us && *machine.frees_slot_us <= now) {
          machine.frees_slot_us.reset();
          --machine.slots_taken;
        }
      for (std::size_t node = 0; node < machines_.size(); ++node)
        if (machines_[node].idle_from_us <= now)
          if (const auto chosen = choice(node, now)) start(*chosen, now);
    }
    finish();
    return std::move(result_);
  }

 private:
  Traveller traveller(const Path& path) const {
    Traveller made;
    const auto at_least_1 = [](std::int64_t us) { return std::max<std::int64_t>(us, 1); };
    for (const PathHop& hop : path.hops)
      made.tasks.push_back({TaskKind::forward, hop.stage, hop.node,
                            at_least_1(instance_.nodes[hop.node].forward_us[hop.stage])});
    const PathHop origin = path.hops.front();
    made.tasks.push_back(
        {TaskKind::head, origin.stage, origin.node, at_least_1(instance_.nodes[origin.node].head_us)});
    for (auto hop = path.hops.rbegin(); hop != path.hops.rend(); ++hop)
      made.tasks.push_back({TaskKind::backward, hop->stage, hop->node,
                            at_least_1(instance_.nodes[hop->node].backward_us[hop->stage])});
    return made;
  }

  // The first runnable task of an idle node: heads and backwards first, then earliest arrival, then earliest
  // listed.
  std::optional<std::size_t> choice(std::size_t node, std::int64_t now) const {
    std::optional<std::size_t> best;
    const auto is_forward = [&](std::size_t i) {
      return travellers_[i].tasks[travellers_[i].next].kind == TaskKind::forward;
    };
    for (std::size_t i = 0; i < travellers_.size(); ++i) {
      const Traveller& one = travellers_[i];
      if (one.done() || one.tasks[one.next].node != node || one.ready_us > now) continue;
      if (is_forward(i) && machines_[node].slots_taken >= plan_.slots[node]) continue;
      if (!best || std::make_tuple(is_forward(i), one.ready_us, i) <
                       std::make_tuple(is_forward(*best), travellers_[*best].ready_us, *best))
        best = i;
    }
    return best;
  }

  void start(std::size_t index, std::int64_t now) {
    Traveller& one = travellers_[index];
    const Task task = one.tasks[one.next];
    const std::int64_t end = now + task.takes_us;
    Machine& machine = machines_[task.node];
    machine.idle_from_us = end + instance_.task_gap_us;
    instants_.insert(machine.idle_from_us);
    if (task.kind == TaskKind::forward) ++machine.slots_taken;
    if (task.kind == TaskKind::backward) {
      machine.frees_slot_us = end;
      instants_.insert(end);
    }
    result_.tasks.push_back(
        {task.kind, static_cast<std::uint32_t>(index), task.stage, task.node, one.ready_us, now, end});
    ++one.next;
    if (one.done()) return;
    const std::uint32_t to = one.tasks[one.next].node;
    const std::int32_t transfer = to == task.node ? 0 : instance_.transfer(task.node, to);
    one.ready_us = end + (transfer == Instance::no_link ? Instance::time_us_max : transfer);
    instants_.insert(one.ready_us);
  }

  void finish() {
    std::vector<std::optional<std::int64_t>> last_backward(instance_.stages);
    for (const TaskTime& task : result_.tasks) {
      result_.makespan_us = std::max(result_.makespan_us, task.end_us);
      result_.nodes[task.node].tasks += 1;
      result_.nodes[task.node].busy_us += task.end_us - task.begin_us + instance_.task_gap_us;
      if (task.kind == TaskKind::backward)
        last_backward[task.stage] = std::max(last_backward[task.stage].value_or(0), task.end_us);
    }
    for (NodeUse& use : result_.nodes)
      if (use.busy_us > 0)
        use.utilisation = static_cast<double>(use.busy_us) / static_cast<double>(result_.makespan_us);
    for (std::size_t i = 0; i < travellers_.size(); ++i)
      if (const Traveller& one = travellers_[i]; !one.done())
        result_.waits.push_back(
            {static_cast<std::uint32_t>(i), one.tasks[one.next].stage, one.tasks[one.next].node});
    result_.finishes = result_.waits.empty();
    result_.step_us = result_.makespan_us;
    if (!instance_.counts_averaging()) return;
    for (std::uint32_t stage = 0; stage < instance_.stages; ++stage) {
      result_.stage_averaged_us.push_back(averaging(stage));
      if (last_backward[stage])
        result_.step_us = std::max(result_.step_us, *last_backward[stage] + averaging(stage));
    }
  }

  std::vector<std::size_t> nodes_of(std::uint32_t stage) const {
    std::vector<std::size_t> nodes;
    for (std::size_t n = 0; n < plan_.stage_of.size(); ++n)
      for (const std::uint32_t held : plan_.stage_of[n])
        if (held == stage) nodes.push_back(n);
    return nodes;
  }

  // 2(n-1)/n x bytes / (slowest bandwidth on the ring) + 2(n-1) x (longest latency on it), and one round trip
  // to the lead origin.
  std::int64_t averaging(std::uint32_t stage) const {
    const std::vector<std::size_t> ring = nodes_of(stage), origins = nodes_of(0);
    if (ring.empty() || origins.empty()) return 0;
    const std::size_t count = instance_.node_count(), lead = origins.front();
    std::int64_t round_trip = 0;
    for (const std::size_t node : ring)
      if (node != lead)
        round_trip = std::max(round_trip, instance_.latency_us[node * count + lead] +
                                              instance_.latency_us[lead * count + node]);
    if (ring.size() == 1) return round_trip;
    std::vector<double> bandwidths;
    std::vector<std::int64_t> latencies;
    for (std::size_t i = 0; i < ring.size(); ++i) {
      const std::size_t to = i + 1 < ring.size() ? ring[i + 1] : ring[0];
      bandwidths.push_back(instance_.bandwidth[ring[i] * count + to]);
      latencies.push_back(instance_.latency_us[ring[i] * count + to]);
    }
    const double slowest = *std::min_element(bandwidths.begin(), bandwidths.end());
    const auto longest = static_cast<double>(*std::max_element(latencies.begin(), latencies.end()));
    const auto n = static_cast<double>(ring.size());
    // Where a link is missing, as long as a thousand of the longest times that there are.
    constexpr std::int64_t most = 1000 * Instance::time_us_max;
    if (slowest <= 0) return most + round_trip;
    const double us = 2 * (n - 1) / n * static_cast<double>(instance_.stage_bytes[stage]) / slowest * 1e6 +
                      2 * (n - 1) * longest;
    return std::min<std::int64_t>(most, std::llround(std::min(us, 2.0 * most))) + round_trip;
  }

  const Instance& instance_;
  const PathPlan& plan_;
  std::vector<Traveller> travellers_;
  std::vector<Machine> machines_;
  std::set<std::int64_t> instants_;  // at which something ends, arrives or becomes idle
  Evaluation result_;
};

}  // namespace

Evaluation naive_evaluate(const Instance& instance, const PathPlan& plan) {
  return NaiveRun(instance, plan).run();
}

}  // namespace sidestep::scheduler::testing

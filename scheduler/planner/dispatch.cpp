#include "scheduler/planner/dispatch.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <queue>
#include <set>
#include <tuple>

#include "net/assert.h"

namespace sidestep::scheduler {
namespace {

class Dispatch {
 public:
  Dispatch(const Instance& instance, const StageSets& sets, Draft& draft)
      : instance_(instance),
        sets_(sets),
        draft_(draft),
        nodes_(instance.node_count()),
        rows_(sets.size()),
        usable_(draft.holders) {
    for (std::size_t n = 0; n < nodes_.size(); ++n) nodes_[n].slots = instance.slots_with(n, draft.held[n]);
    for (auto& holders : usable_)
      std::erase_if(holders, [&](std::uint32_t node) { return instance.nodes[node].draining; });
    for (const std::uint32_t origin : usable_[0])
      nodes_[origin].injections_left =
          instance.microbatches_per_origin == 0 ? sets.size() : instance.microbatches_per_origin;
  }

  void run() {
    for (const std::uint32_t origin : usable_[0]) wake(0, origin);
    while (!events_.empty()) {
      const auto [at, kind, what] = events_.top();
      events_.pop();
      if (kind == arrival)
        arrive(at, what);
      else
        work(at, what);
    }
    // A ring of slots holds the rest back: it goes where there is least to do.
    for (std::size_t i = 0; injected_ < sets_.size(); ++i) {
      const std::uint32_t origin = usable_[0][i % usable_[0].size()];
      if (nodes_[origin].injections_left == 0) continue;
      --nodes_[origin].injections_left;
      inject(origin);
    }
    for (std::size_t r = 0; r < rows_.size(); ++r)
      for (std::size_t hop = 1; hop < draft_.length; ++hop)
        if (draft_.row(r)[hop].stage == 0) draft_.row(r)[hop] = {stage(r, hop), next_node(0, r, hop)};
  }

 private:
  // At one instant arrivals are taken in before nodes pick.
  static constexpr int arrival = 0, pick = 1;

  struct Node {
    std::int64_t free_us = 0;
    std::uint32_t slots = 0;
    std::uint32_t coming = 0;         // rows that hold a slot, wait for one or are on their way
    std::int64_t kept_us = 0;         // how long the latest ones kept their slot, smoothed
    std::size_t injections_left = 0;  // of an origin
    std::set<std::pair<std::int64_t, std::size_t>> forwards, backwards;  // arrival, row
  };
  struct Row {
    std::size_t task = 0;  // as StepEngine counts them: forwards, head, backwards
    std::vector<std::int64_t> began_us;
  };

  std::uint32_t stage(std::size_t row, std::size_t hop) const { return sets_[row][hop]; }
  std::size_t hop_of(std::size_t task) const {
    return task < draft_.length ? task : task == draft_.length ? 0 : 2 * draft_.length - task;
  }
  std::int64_t leg(std::size_t from, std::size_t to) const {
    if (from == to) return 0;
    const std::int32_t us = instance_.transfer(from, to);
    return us == Instance::no_link ? Instance::time_us_max : us;
  }
  void wake(std::int64_t at, std::size_t node) { events_.emplace(at, pick, node); }

  void arrive(std::int64_t at, std::size_t row) {
    const std::size_t task = rows_[row].task;
    Node& node = nodes_[draft_.row(row)[hop_of(task)].node];
    (task < draft_.length ? node.forwards : node.backwards).emplace(at, row);
    wake(std::max(at, node.free_us), draft_.row(row)[hop_of(task)].node);
  }

  std::size_t inject(std::size_t origin) {
    const std::size_t row = injected_++;
    rows_[row].began_us.assign(draft_.length, 0);
    std::fill(draft_.row(row), draft_.row(row) + draft_.length,
              PathHop{0, static_cast<std::uint32_t>(origin)});
    ++nodes_[origin].coming;
    return row;
  }

  void work(std::int64_t at, std::size_t n) {
    Node& node = nodes_[n];
    if (at < node.free_us) return;
    std::size_t row = 0;
    if (!node.backwards.empty()) {
      row = node.backwards.begin()->second;
      node.backwards.erase(node.backwards.begin());
    } else if (node.slots == 0) {
      return;
    } else if (!node.forwards.empty()) {
      row = node.forwards.begin()->second;
      node.forwards.erase(node.forwards.begin());
    } else if (node.injections_left > 0 && injected_ < sets_.size()) {
      --node.injections_left;
      row = inject(n);
    } else {
      return;
    }
    begin(at, n, row);
  }

  void begin(std::int64_t at, std::size_t n, std::size_t r) {
    Node& node = nodes_[n];
    Row& row = rows_[r];
    const std::size_t hop = hop_of(row.task), last = 2 * draft_.length;
    const InstanceNode& machine = instance_.nodes[n];
    std::int64_t duration = machine.head_us;
    if (row.task < draft_.length) {
      duration = machine.forward_us[stage(r, hop)];
      row.began_us[hop] = at;
      --node.slots;
    } else if (row.task > draft_.length) {
      duration = machine.backward_us[stage(r, hop)];
      ++node.slots;
      --node.coming;
      const std::int64_t kept = at + duration - row.began_us[hop];
      node.kept_us = node.kept_us == 0 ? kept : (3 * node.kept_us + kept) / 4;
    }
    const std::int64_t end = at + duration;
    node.free_us = end + instance_.task_gap_us;
    wake(node.free_us, n);
    if (row.task == last) return;
    ++row.task;
    const std::size_t next = hop_of(row.task);
    if (row.task < draft_.length) draft_.row(r)[next] = {stage(r, next), next_node(end, r, next)};
    events_.emplace(end + leg(n, draft_.row(r)[next].node), arrival, r);
  }

  // Where the row's forward at `hop` is done soonest, the ways back counted.
  std::uint32_t next_node(std::int64_t now, std::size_t r, std::size_t hop) {
    const std::uint32_t here = draft_.row(r)[hop - 1].node, origin = draft_.row(r)[0].node;
    const std::uint32_t wanted = stage(r, hop);
    std::uint32_t best = usable_[wanted].front();
    std::int64_t best_us = std::numeric_limits<std::int64_t>::max();
    for (const std::uint32_t n : usable_[wanted]) {
      const Node& node = nodes_[n];
      const std::int64_t visit = visit_us(instance_, n, wanted);
      const std::int64_t kept =
          node.kept_us != 0 ? node.kept_us : visit * static_cast<std::int64_t>(draft_.length - hop);
      const std::int64_t capacity = instance_.slots_with(n, draft_.held[n]);
      const std::int64_t ahead = std::max<std::int64_t>(0, node.coming + 1 - capacity);
      std::int64_t score = std::max(now + leg(here, n), node.free_us) +
                           ahead * kept / std::max<std::int64_t>(capacity, 1) + node.coming * visit / 2 +
                           leg(n, here) + visit;
      // What is far from the origin has to come back from there.
      if (hop + 1 == draft_.length) score += both_ways_us(instance_, n, origin);
      if (score < best_us) {
        best = n;
        best_us = score;
      }
    }
    ++nodes_[best].coming;
    return best;
  }

  const Instance& instance_;
  const StageSets& sets_;
  Draft& draft_;
  std::vector<Node> nodes_;
  std::vector<Row> rows_;
  std::vector<std::vector<std::uint32_t>> usable_;  // holders by stage, without those that drain
  std::size_t injected_ = 0;
  using Event = std::tuple<std::int64_t, int, std::size_t>;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
};

}  // namespace

void dispatch(const Instance& instance, const StageSets& sets, Draft& draft) {
  SIDESTEP_ASSERT(draft.rows == sets.size());
  Dispatch(instance, sets, draft).run();
}

Draft dispatched_again(const Instance& instance, const Draft& draft) {
  StageSets sets(draft.rows);
  for (std::size_t r = 0; r < draft.rows; ++r)
    for (std::size_t i = 0; i < draft.length; ++i) sets[r].push_back(draft.row(r)[i].stage);
  Draft again = draft;
  dispatch(instance, sets, again);
  return step_us(instance, again) < step_us(instance, draft) ? again : draft;
}

}  // namespace sidestep::scheduler

#include "scheduler/planner/baselines.h"

#include <algorithm>
#include <numeric>

#include "net/assert.h"
#include "net/random.h"
#include "scheduler/planner/construct.h"

namespace sidestep::scheduler {
namespace {

template <class T>
void shuffle(std::vector<T>& values, net::Random& random) {
  for (std::size_t i = values.size(); i > 1; --i)
    std::swap(values[i - 1],
              values[static_cast<std::size_t>(random.between(0, static_cast<std::int64_t>(i) - 1))]);
}

class Columns {
 public:
  // `places`: [column * stages + place] of nodes; `stages` are those that live.
  Columns(const Instance& instance, std::vector<std::uint32_t> stages, std::vector<std::uint32_t> places,
          std::vector<std::uint32_t> spare)
      : instance_(instance),
        stages_(std::move(stages)),
        places_(std::move(places)),
        spare_(std::move(spare)) {
    for (std::size_t s = 0; s < stages_.size(); ++s) {
      within_.push_back(within(s));
      ahead_.push_back(ahead(s));
    }
  }

  void improve(net::Random& random, const Budget& budget) {
    std::uint64_t tries = 0;
    std::int64_t now = cost();
    const auto tasks = places_.size() * 2;
    do {
      for (int i = 0; i < 256; ++i, ++tries) {
        const std::size_t a = index(random, places_.size());
        const std::size_t b = index(random, places_.size() + spare_.size());
        std::uint32_t& theirs = b < places_.size() ? places_[b] : spare_[b - places_.size()];
        if (a == b || !may(places_[a], b) || !may(theirs, a)) continue;
        std::swap(places_[a], theirs);
        const auto old_within = within_, old_ahead = ahead_;
        refresh(a);
        if (b < places_.size()) refresh(b);
        if (const std::int64_t then = cost(); then <= now) {
          now = then;
        } else {
          std::swap(places_[a], theirs);
          within_ = old_within;
          ahead_ = old_ahead;
        }
      }
    } while (budget.progress({}, tries * tasks, 1) < 1);
  }

  const std::vector<std::uint32_t>& places() const { return places_; }

 private:
  static std::size_t index(net::Random& random, std::size_t count) {
    return static_cast<std::size_t>(random.between(0, static_cast<std::int64_t>(count) - 1));
  }
  bool may(std::uint32_t node, std::size_t place) const {
    return place >= places_.size() || instance_.may_hold(node, stages_[place % stages_.size()]);
  }
  std::int64_t link(std::size_t a, std::size_t b) const {
    const std::int32_t us = instance_.transfer(places_[a], places_[b]);
    return us == Instance::no_link ? Instance::time_us_max : us;
  }
  std::int64_t within(std::size_t s) const {
    std::int64_t worst = 0;
    for (std::size_t a = s; a < places_.size(); a += stages_.size())
      for (std::size_t b = s; b < places_.size(); b += stages_.size())
        if (a != b) worst = std::max(worst, link(a, b));
    return worst;
  }
  std::int64_t ahead(std::size_t s) const {
    const std::size_t next = (s + 1) % stages_.size();
    std::int64_t worst = 0;
    for (std::size_t first = 0; first < places_.size(); first += stages_.size())
      worst = std::max(worst, link(first + s, first + next));
    return worst;
  }
  void refresh(std::size_t place) {
    const std::size_t s = place % stages_.size(), before = (s + stages_.size() - 1) % stages_.size();
    within_[s] = within(s);
    ahead_[s] = ahead(s);
    ahead_[before] = ahead(before);
  }
  std::int64_t cost() const {
    return *std::max_element(within_.begin(), within_.end()) +
           2 * std::accumulate(ahead_.begin(), ahead_.end(), std::int64_t{0});
  }

  const Instance& instance_;
  std::vector<std::uint32_t> stages_, places_, spare_;
  std::vector<std::int64_t> within_,
      ahead_;  // by place in a column: slowest link of the stage, to the next one
};

}  // namespace

Result<Draft> plan_dtfm(const Instance& instance, std::uint64_t seed, const Budget& budget) {
  std::vector<std::uint32_t> stages;
  for (std::uint32_t stage = 0; stage < instance.stages; ++stage)
    if (instance.stage_out[stage] == 0) stages.push_back(stage);
  // As a start, the columns of the constructive placement.
  Instance equal = instance;
  std::size_t usable = 0;
  for (const InstanceNode& node : instance.nodes) usable += node.draining ? 0 : 1;
  std::size_t columns = usable / stages.size();
  if (!instance.placement_fixed()) {
    if (columns == 0)
      return Status::refused("dtfm needs a node for each of " + std::to_string(stages.size()) +
                             " stages, there are " + std::to_string(usable));
    equal.stage_sizes.assign(instance.stages, 0);
    for (const std::uint32_t stage : stages) equal.stage_sizes[stage] = static_cast<std::uint32_t>(columns);
  }
  Draft placed(instance, instance.microbatches);
  if (Status status = place_stages(equal, stage_demand(equal), Neighbours::stages, placed); !status.ok())
    return status;
  columns = instance.node_count();
  std::vector<std::vector<std::uint32_t>> holders = placed.holders;
  for (const std::uint32_t stage : stages) {
    std::erase_if(holders[stage], [&](std::uint32_t node) { return instance.nodes[node].draining; });
    columns = std::min(columns, holders[stage].size());
  }
  std::vector<std::uint32_t> places(columns * stages.size()), spare;
  std::vector<char> used(instance.node_count(), 0);
  for (std::size_t s = 0; s < stages.size(); ++s)
    for (std::size_t column = 0; column < columns; ++column) {
      places[column * stages.size() + s] = holders[stages[s]][column];
      used[holders[stages[s]][column]] = 1;
    }
  for (std::size_t n = 0; n < instance.node_count(); ++n)
    if (used[n] == 0 && !instance.nodes[n].draining) spare.push_back(static_cast<std::uint32_t>(n));
  Draft draft = placed;
  if (!instance.placement_fixed()) {
    Columns search(instance, stages, places, spare);
    net::Random random(seed);
    search.improve(random, budget);
    places = search.places();
    draft = Draft(instance, instance.microbatches);
    for (std::size_t i = 0; i < places.size(); ++i) draft.hold(places[i], stages[i % stages.size()]);
  }
  for (std::size_t r = 0; r < draft.rows; ++r)
    for (std::size_t s = 0; s < stages.size(); ++s)
      draft.row(r)[s] = {stages[s], places[(r % columns) * stages.size() + s]};
  return draft;
}

Result<Draft> plan_random_skip(const Instance& instance, std::uint64_t seed) {
  Result<StageSets> sets = choose_stage_sets(instance);
  if (!sets.ok()) return sets.status();
  Draft draft(instance, instance.microbatches);
  if (Status status = place_stages(instance, stage_demand(instance), Neighbours::stages, draft); !status.ok())
    return status;
  net::Random random(seed);
  if (!instance.placement_fixed()) {
    // Nodes that are alike to the rules change places at random.
    std::vector<std::uint32_t> nodes;
    for (std::uint32_t n = 0; n < instance.node_count(); ++n)
      if (!instance.nodes[n].draining) nodes.push_back(n);
    for (std::size_t i = 0; i < 8 * nodes.size(); ++i) {
      const std::uint32_t a =
          nodes[static_cast<std::size_t>(random.between(0, static_cast<std::int64_t>(nodes.size()) - 1))];
      const std::uint32_t b =
          nodes[static_cast<std::size_t>(random.between(0, static_cast<std::int64_t>(nodes.size()) - 1))];
      if (draft.held[a].size() != 1 || draft.held[b].size() != 1) continue;
      const std::uint32_t of_a = draft.held[a][0], of_b = draft.held[b][0];
      if (of_a == of_b || !instance.may_hold(a, of_b) || !instance.may_hold(b, of_a)) continue;
      draft.release(a, of_a);
      draft.release(b, of_b);
      draft.hold(a, of_b);
      draft.hold(b, of_a);
    }
  }
  shuffle(sets.value(), random);
  // Each stage's visits are dealt out evenly, in an order that is drawn.
  std::vector<std::vector<std::uint32_t>> deal(instance.stages);
  for (std::size_t r = 0; r < draft.rows; ++r)
    for (std::size_t i = 0; i < draft.length; ++i) {
      const std::uint32_t stage = sets.value()[r][i];
      if (deal[stage].empty()) {
        for (const std::uint32_t node : draft.holders[stage])
          if (!instance.nodes[node].draining) deal[stage].push_back(node);
        SIDESTEP_ASSERT(!deal[stage].empty());
        shuffle(deal[stage], random);
      }
      draft.row(r)[i] = {stage, deal[stage].back()};
      deal[stage].pop_back();
    }
  return draft;
}

}  // namespace sidestep::scheduler

#include "scheduler/planner/search.h"

#include <algorithm>
#include <cmath>

#include "net/assert.h"
#include "scheduler/planner/evaluator.h"

namespace sidestep::scheduler {

Search::Search(const Instance& instance, Draft draft, SearchOptions options)
    : instance_(instance),
      options_(std::move(options)),
      random_(options_.seed),
      engine_(instance, draft.rows, std::max<std::size_t>(draft.length, 1)),
      draft_(std::move(draft)) {
  load();
  best_ = draft_;
  best_us_ = cost_us_;
}

void Search::adopt(const Draft& draft) {
  draft_ = draft;
  load();
  if (cost_us_ < best_us_) {
    best_ = draft_;
    best_us_ = cost_us_;
  }
}

void Search::load() {
  visits_ = draft_.visits();
  set_placement();
  for (std::size_t r = 0; r < draft_.rows; ++r) engine_.set_row(r, draft_.row(r), draft_.length);
  const std::int64_t step = run(StepEngine::never);
  cost_us_ = step == StepEngine::never ? StepEngine::never : step + moving_us();
  open_rows_ = engine_.open_rows();
}

// Everything of the engine that depends on who holds what. Rows are to be set after it where averaging
// counts.
void Search::set_placement() {
  for (std::size_t n = 0; n < instance_.node_count(); ++n)
    engine_.set_slots(n, instance_.slots_with(n, draft_.held[n]));
  usable_ = draft_.holders;
  for (auto& nodes : usable_)
    std::erase_if(nodes, [&](std::uint32_t node) { return instance_.nodes[node].draining; });
  if (!options_.after_us.empty())
    engine_.set_after(options_.after_us);
  else if (instance_.counts_averaging())
    engine_.set_after(averaging_us(instance_, draft_.held));
}

std::int64_t Search::moving_us() const {
  std::int64_t sum = 0;
  if (options_.moving_us.empty()) return sum;
  for (std::size_t n = 0; n < draft_.held.size(); ++n)
    for (const std::uint32_t stage : draft_.held[n]) sum += options_.moving_us[n * instance_.stages + stage];
  return sum;
}

std::int64_t Search::run(std::int64_t limit_us) {
  ++evaluations_;
  if (!options_.ignore_waiting) return engine_.run(limit_us);
  const std::int64_t step = engine_.estimate_us();
  return step > limit_us ? StepEngine::never : step;
}

PathHop* Search::change_row(std::size_t row) {
  PathHop* const hops = draft_.row(row);
  if (std::find(changed_rows_.begin(), changed_rows_.end(), row) == changed_rows_.end()) {
    changed_rows_.push_back(row);
    old_hops_.insert(old_hops_.end(), hops, hops + draft_.length);
  }
  return hops;
}

void Search::change_held(std::size_t node, const std::vector<std::uint32_t>& stages) {
  old_held_.push_back({node, draft_.held[node]});
  for (const std::uint32_t stage : old_held_.back().stages) draft_.release(node, stage);
  for (const std::uint32_t stage : stages) draft_.hold(node, stage);
}

void Search::take_back() {
  for (std::size_t i = 0; i < changed_rows_.size(); ++i) {
    PathHop* const hops = draft_.row(changed_rows_[i]);
    for (std::size_t h = 0; h < draft_.length; ++h) {
      --visits_[hops[h].stage];
      hops[h] = old_hops_[i * draft_.length + h];
      ++visits_[hops[h].stage];
    }
  }
  while (!old_held_.empty()) {
    const OldHeld old = std::move(old_held_.back());
    old_held_.pop_back();
    const std::vector<std::uint32_t> now = draft_.held[old.node];
    for (const std::uint32_t stage : now) draft_.release(old.node, stage);
    for (const std::uint32_t stage : old.stages) draft_.hold(old.node, stage);
  }
}

bool Search::try_move(std::int64_t limit_us) {
  ++tries_;
  changed_rows_.clear();
  old_hops_.clear();
  old_held_.clear();
  if (!propose()) {
    take_back();
    return false;
  }
  const bool placed = !old_held_.empty();
  const auto set_rows = [&] {
    // Tails contain the averaging of the placement.
    if (placed && instance_.counts_averaging() && options_.after_us.empty())
      for (std::size_t r = 0; r < draft_.rows; ++r) engine_.set_row(r, draft_.row(r), draft_.length);
    else
      for (const std::size_t r : changed_rows_) engine_.set_row(r, draft_.row(r), draft_.length);
  };
  if (placed) set_placement();
  set_rows();
  const std::int64_t moving = moving_us();
  const std::int64_t step = run(limit_us - moving);
  // From a draft that never ends any way out will do that holds back no more microbatches.
  if (step == StepEngine::never && cost_us_ == StepEngine::never && engine_.open_rows() <= open_rows_) {
    open_rows_ = engine_.open_rows();
    return true;
  }
  if (step != StepEngine::never) {
    cost_us_ = step + moving;
    return true;
  }
  take_back();
  if (placed) set_placement();
  set_rows();
  return false;
}

void Search::anneal(Temperatures temperatures, const std::function<double()>& progress, double until) {
  // Some milliseconds at most.
  const int moves_a_question = draft_.hops.size() < 2000 ? 64 : 4;
  if (draft_.rows == 0) return;
  for (double done = progress(); done < until; done = progress()) {
    const double share = temperatures.hot * std::pow(temperatures.cold / temperatures.hot, done);
    for (int i = 0; i < moves_a_question; ++i) {
      // Drawn before it is tried, so that the engine gives up as soon as the move cannot be accepted.
      const double slack = -std::log(1 - random_.uniform()) * share * static_cast<double>(cost_us_);
      const std::int64_t limit =
          cost_us_ == StepEngine::never ? StepEngine::never - 1 : cost_us_ + static_cast<std::int64_t>(slack);
      if (try_move(limit) && cost_us_ < best_us_) {
        best_us_ = cost_us_;
        best_ = draft_;
      }
    }
  }
}

}  // namespace sidestep::scheduler

#include "scheduler/step_watch.h"

#include <algorithm>
#include <bit>

namespace sidestep::scheduler {

void StepSets::add(const net::NodeKey& node, net::StepTimes times, std::size_t nodes) {
  const std::pair name(times.scope.epoch, times.scope.step);
  if (last_ && name <= std::pair(last_->epoch, last_->step)) return;  // late
  StepSet& set = open_[name];
  set.epoch = name.first;
  set.step = name.second;
  set.nodes.insert_or_assign(node, std::move(times));
  if (set.nodes.size() >= nodes) {
    last_ = std::move(set);
    open_.erase(open_.begin(), open_.upper_bound(name));
  } else if (open_.size() > open_max) {
    open_.erase(open_.begin());
  }
}

void StepWatch::add(const Step& step) {
  drifts_now_ = false;
  if (step.epoch != epoch_) {
    epoch_ = step.epoch;
    took_us_.clear();
    longer_ = shorter_ = 0;
    drifted_ = false;
    if (typical_us_ == 0) typical_us_ = step.took_us;
    return;
  }
  took_us_.push_back(step.took_us);
  if (took_us_.size() > window) took_us_.pop_front();
  typical_us_ = *median_us();
  if (step.predicted_us <= 0) return;
  const auto took = static_cast<double>(step.took_us), predicted = static_cast<double>(step.predicted_us);
  longer_ = took > (1 + drift_share) * predicted ? longer_ + 1 : 0;
  shorter_ = took < (1 - drift_share) * predicted ? shorter_ + 1 : 0;
  drifts_now_ = has_drifted() && !drifted_;
  drifted_ = drifted_ || drifts_now_;
}

std::optional<std::int64_t> StepWatch::median_us() const {
  if (took_us_.empty()) return std::nullopt;
  std::vector<std::int64_t> sorted(took_us_.begin(), took_us_.end());
  std::ranges::sort(sorted);
  return sorted[sorted.size() / 2];
}

bool StepWatch::has_drifted() const { return std::max(longer_, shorter_) >= drift_steps; }

std::uint64_t StepWatch::times_every() const {
  if (typical_us_ <= 0) return 0;
  return std::bit_ceil(static_cast<std::uint64_t>((times_apart_us + typical_us_ - 1) / typical_us_));
}

}  // namespace sidestep::scheduler

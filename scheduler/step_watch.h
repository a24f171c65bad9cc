// What nodes tell of steps, put together: the times of whole steps, and how long steps take against what
// their plan predicted. Pure; part of the active job.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "net/messages.h"

namespace sidestep::scheduler {

// Of one step under one plan, by node.
struct StepSet {
  std::uint64_t epoch = 0;
  std::uint64_t step = 0;
  std::map<net::NodeKey, net::StepTimes> nodes;
};

class StepSets {
 public:
  // A node's times of a step; it is whole when `nodes` of them have told.
  void add(const net::NodeKey& node, net::StepTimes times, std::size_t nodes);
  // The newest whole one.
  const std::optional<StepSet>& last() const { return last_; }

 private:
  static constexpr std::size_t open_max = 3;  // steps that some nodes have told and others not

  std::map<std::pair<std::uint64_t, std::uint64_t>, StepSet> open_;  // by epoch, step
  std::optional<StepSet> last_;
};

class StepWatch {
 public:
  // A step was committed, this long after the one before; the plan had predicted that; 0: not known.
  struct Step {
    std::uint64_t epoch = 0;
    std::int64_t took_us = 0;
    std::int64_t predicted_us = 0;
  };
  // The first step of a plan does not count: it has the change of plans in it, or loads what is used first.
  void add(const Step& step);

  // Median of the last steps of this plan; nothing before its second one.
  std::optional<std::int64_t> median_us() const;
  // The last 5 steps of this plan all took more than 25 % longer, or all more than 25 % shorter, than
  // predicted.
  bool has_drifted() const;
  // has_drifted() has become true by the last step, for the first time under this plan.
  bool drifts_now() const { return drifts_now_; }
  // Of which steps times are wanted: the least power of two whose multiples are 2 s apart or more, as long as
  // steps last now; 0: that is not known yet. A power of two, so that nodes which have heard another number
  // still agree on most steps.
  std::uint64_t times_every() const;

 private:
  static constexpr std::size_t window = 9;
  static constexpr int drift_steps = 5;
  static constexpr double drift_share = 0.25;
  static constexpr std::int64_t times_apart_us = 2'000'000;

  std::uint64_t epoch_ = 0;
  std::deque<std::int64_t> took_us_;
  std::int64_t typical_us_ = 0;   // of this plan, or still of the one before
  int longer_ = 0, shorter_ = 0;  // steps running that took too long, or too short
  bool drifted_ = false, drifts_now_ = false;
};

}  // namespace sidestep::scheduler

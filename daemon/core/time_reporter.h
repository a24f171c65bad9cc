// Tells the scheduler what this node's tasks and ways take: Measured every few seconds, StepTimes of the
// steps that it asks for. Pure; owned by JobRun. Design: "Cost model" (measured, not configured).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "daemon/core/job_context.h"
#include "daemon/core/measures.h"

namespace sidestep::daemon {

class TimeReporter {
 public:
  struct Ports {
    std::function<void(net::Message)> tell_scheduler;  // once, unacked
    std::function<std::vector<net::LinkSpeed>()> links;
  };

  TimeReporter(JobContext& context, Ports ports) : context_(context), ports_(std::move(ports)) {}

  // The scheduler wants the times of each step that is a multiple of this; 0: of none. All nodes hear the
  // same number, so that it gets whole steps.
  void want_times_every(std::uint64_t steps) { times_every_ = steps; }
  // The Commit of the step under way has come.
  void on_commit(std::int64_t now_us);
  // All that was measured so far, to a scheduler that does not know it.
  void tell_measured();

  static constexpr std::int64_t measured_every_us = 3'000'000;

 private:
  JobContext& context_;
  Ports ports_;
  TaskMeasures measures_;
  std::uint64_t times_every_ = 0;
  std::int64_t next_measured_us_ = 0;
};

}  // namespace sidestep::daemon

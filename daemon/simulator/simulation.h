// Runs a scenario: the real scheduler and the real nodes under a virtual clock and network, with drawn task
// times. The same scenario and seed give the same report and trace, byte for byte.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/simulator/scenario.h"
#include "daemon/simulator/swarm_watch.h"
#include "net/status.h"

namespace sidestep::sim {

// Times are microseconds from the job's first step.
struct SimReport {
  std::uint64_t seed = 0;
  std::size_t nodes = 0;  // that the scenario has, later ones too
  scheduler::JobState state = scheduler::JobState::queued;
  std::string reason;              // why the job ended
  std::int64_t prepared_us = 0;    // from the first program's start to the first step
  std::int64_t duration_us = 0;    // to the last commit, or to where the simulation ended
  std::uint64_t steps = 0;         // committed
  std::uint64_t steps_wanted = 0;  // by the job
  std::uint64_t tokens = 0;        // of the committed steps
  Shares shares{};                 // of the time of all nodes that held a stage
  std::vector<SimPlan> plans;      // at least one
  std::vector<SimNote> notes;      // what happened, and what the scheduler warned of

  // Of all committed steps, from commit to commit; 0: there are none.
  std::int64_t median_us() const;
};

// The middle one, or the lower of the two; 0 of none.
std::int64_t median_us(std::vector<std::int64_t> took_us);

// Errors: the job is refused, or fails before its first step, with what the scheduler said; internal where
// the swarm did what it must not. A job that fails later is no error: see SimReport::state.
Result<SimReport> simulate(const Scenario& scenario, std::uint64_t seed, SwarmWatch::Trace trace = {});

}  // namespace sidestep::sim

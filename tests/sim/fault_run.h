// A run of the simulator in which everything goes wrong that may: nodes are killed, paused, cut off one way
// or both, slowed, drained, come later and come back, the scheduler restarts, messages are lost and repeated.
// A seed describes it completely.
#pragma once

#include <cstdint>

#include "tests/sim/random_run.h"

namespace sidestep::sim {

struct FaultRun {
  JobShape job;
  SimOptions options;
  std::uint64_t seed = 0;       // of the faults
  std::int64_t faults = 0;      // one after another, some overlapping
  bool may_lose_stage = false;  // also nodes without which a stage would be lost

  std::string describe() const;
};

FaultRun draw_fault_run(std::uint64_t seed);
// The same faults where lost stages are rebuilt: also of every node that holds one, but that an origin is
// left.
FaultRun draw_rebuild_run(std::uint64_t seed);

// And of every node, where the job goes back to a checkpoint.
FaultRun draw_checkpoint_run(std::uint64_t seed);

// While every stage has a replica left, or is rebuilt, the job is done, rightly, within bounded time after
// the last fault; only where it may lose a stage it may also end with that as the reason.
RunResult run(const FaultRun& drawn);

}  // namespace sidestep::sim

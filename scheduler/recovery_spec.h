// The block `recovery` of a job: what becomes of a stage whose last replica is lost (design.md, Recovery).
// Values.
#pragma once

#include <cstdint>
#include <string>

#include "scheduler/options.h"

namespace sidestep::scheduler {

struct RecoverySpec {
  // "checkfree": its neighbours rebuild it, routes go around it meanwhile. "checkfree+": the same, but every
  // second route takes the first two stages past 0 and the last two in the other order, and each of these is
  // rebuilt as a copy of the one that it changes places with. "mirror": another node keeps its state, every
  // `every` commits; with 1 it is a second holder, so that the loss of one node loses no stage.
  // "checkpoint": the whole model goes back to a commit, one of every `checkpoint_every`. "replica": other
  // replicas alone, the job ends with the last one.
  std::string policy = "mirror";
  std::int64_t every = 25;  // commits between two mirrors
  // A folder that all nodes see: checkpoints of the whole model are written to it, whatever the policy, and
  // the job goes back to the newest when what was lost cannot be had otherwise. Empty: none are written.
  std::string directory = {};
  std::int64_t checkpoint_every = 50;  // commits between two
  std::int64_t checkpoints_kept = 2;   // the newest
  // Nodes that hold stage 0 at least, as far as there are such: there is nothing to rebuild embedding, norm
  // and head from, so they are kept twice.
  std::int64_t origins = 2;
  // How much each neighbour counts: "gradient" (the norm of its last gradient), "uniform", "copy" (the one
  // below alone), "random" (none: as a fresh job makes it). The last three are for comparison.
  std::string weights = "gradient";
  double weight_power = 1;          // of the norm
  double lr_scale = 1.1;            // times the learning rate of a rebuilt stage, once and for all
  std::string moments = "average";  // "average" (Adam's, with the same weights), "fresh"
  std::int64_t out_steps = 0;       // that a lost stage is left out at least, before it is rebuilt
  std::int64_t transfer_steps = 0;  // that it is left out while it is rebuilt; in a swarm, as it comes

  bool rebuilds() const { return policy != "replica" && policy != "checkpoint"; }
  bool writes_checkpoints() const { return !directory.empty(); }
  // Of every stage, in another node's memory, every so many commits.
  bool keeps_mirrors() const { return policy == "mirror" && every > 1; }
  // Nodes that are to hold the stage at least, the last of them beside another stage if need be.
  std::size_t holders_wanted(std::uint32_t stage) const;
};

void add_recovery_keys(OptionTable& table, RecoverySpec& recovery);
// Tells what does not fit the pipeline. Each check waits for its own fields to be right alone.
void check_recovery(const RecoverySpec& recovery, std::int64_t stages, std::int64_t max_swaps,
                    Problems& problems);

}  // namespace sidestep::scheduler

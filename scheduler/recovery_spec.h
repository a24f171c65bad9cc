// The block `recovery` of a job: what becomes of a stage whose last replica is lost (design.md, Recovery).
// Values.
#pragma once

#include <cstdint>
#include <string>

#include "scheduler/options.h"

namespace sidestep::scheduler {

struct RecoverySpec {
  // "checkfree": its neighbours rebuild it, routes go around it meanwhile. "mirror": the same, but every
  // stage has a second holder to begin with, so that the loss of one node loses no stage. "replica": other
  // replicas alone, the job ends with the last one.
  std::string policy = "checkfree";
  // Nodes that hold stage 0 at least, as far as there are such: there is nothing to rebuild embedding, norm
  // and head from, so they are kept twice.
  std::int64_t origins = 2;
  // How much each neighbour counts: "gradient" (the norm of its last gradient), "uniform", "copy" (the one
  // below alone), "random" (none: as a fresh job makes it). The last three are for comparison.
  std::string weights = "gradient";
  double weight_power = 1;          // of the norm
  double lr_scale = 1.1;            // times the learning rate of a rebuilt stage, once and for all
  std::string moments = "average";  // "average" (Adam's, with the same weights), "fresh"

  bool rebuilds() const { return policy != "replica"; }
  // Nodes that are to hold the stage at least, the last of them beside another stage if need be.
  std::size_t holders_wanted(std::uint32_t stage) const;
};

void add_recovery_keys(OptionTable& table, RecoverySpec& recovery);

}  // namespace sidestep::scheduler

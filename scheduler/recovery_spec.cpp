#include "scheduler/recovery_spec.h"

#include <algorithm>

namespace sidestep::scheduler {

std::size_t RecoverySpec::holders_wanted(std::uint32_t stage) const {
  if (!rebuilds()) return 1;
  const std::size_t mirrored = policy == "mirror" ? 2 : 1;
  return stage == 0 ? std::max(mirrored, static_cast<std::size_t>(origins)) : mirrored;
}

void add_recovery_keys(OptionTable& table, RecoverySpec& recovery) {
  table
      .add("recovery.policy", recovery.policy,
           "when the last replica of a stage is lost: its neighbours rebuild it while routes go around it "
           "(checkfree), the same, with a second holder of every stage to begin with (mirror), or the job "
           "ends "
           "(replica)")
      .one_of({"checkfree", "mirror", "replica"});
  table
      .add("recovery.origins", recovery.origins,
           "nodes that hold stage 0 at least, as far as others have the data and the memory: it cannot be "
           "rebuilt; not with policy replica")
      .range(1, 16);
  table
      .add("recovery.weights", recovery.weights,
           "how much each neighbour counts in a rebuilt stage: by the norm of its last gradient, alike, only "
           "the one below, or none (fresh weights); the last three are for comparison")
      .one_of({"gradient", "uniform", "copy", "random"});
  table.add("recovery.weight_power", recovery.weight_power, "of the gradient's norm").range(0, 10);
  table
      .add("recovery.lr_scale", recovery.lr_scale,
           "times the learning rate of a rebuilt stage, once and for all")
      .above(0)
      .range(0, 10);
  table.add("recovery.moments", recovery.moments, "Adam's moments of a rebuilt stage")
      .one_of({"average", "fresh"});
}

}  // namespace sidestep::scheduler

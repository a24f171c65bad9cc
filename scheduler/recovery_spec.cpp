#include "scheduler/recovery_spec.h"

namespace sidestep::scheduler {

void add_recovery_keys(OptionTable& table, RecoverySpec& recovery) {
  table
      .add("recovery.policy", recovery.policy,
           "when the last replica of a stage is lost: its neighbours rebuild it while routes go around it "
           "(checkfree), or the job ends (replica)")
      .one_of({"checkfree", "replica"});
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

#include "scheduler/recovery_spec.h"

#include <algorithm>

#include "scheduler/twin_stages.h"

namespace sidestep::scheduler {

std::size_t RecoverySpec::holders_wanted(std::uint32_t stage) const {
  if (!rebuilds()) return 1;
  const std::size_t mirrored = policy == "mirror" && every <= 1 ? 2 : 1;
  return stage == 0 ? std::max(mirrored, static_cast<std::size_t>(origins)) : mirrored;
}

void add_recovery_keys(OptionTable& table, RecoverySpec& recovery) {
  table
      .add("recovery.policy", recovery.policy,
           "when the last replica of a stage is lost: its neighbours rebuild it while routes go around it "
           "(checkfree), the same, with every second route taking the first two stages past 0 and the last "
           "two in the other order, so that these can stand in for each other (checkfree+), the same, with "
           "its state kept by another node too (mirror), the whole model goes back to a saved commit "
           "(checkpoint), or the job ends (replica)")
      .one_of({"checkfree", "checkfree+", "mirror", "checkpoint", "replica"});
  table
      .add("recovery.every", recovery.every,
           "commits between two mirrors of a stage; a mirror of every commit is a second holder")
      .range(1, 100'000'000);
  table
      .add("recovery.directory", recovery.directory,
           "folder that all nodes see (a mounted bucket, a network file system), for checkpoints of the "
           "whole model: the job goes back to the newest when what was lost cannot be had otherwise, under "
           "any policy, and `sidestep submit --resume` starts from one")
      .default_text("no checkpoints");
  table.add("recovery.checkpoint_every", recovery.checkpoint_every, "commits between two checkpoints")
      .range(1, 100'000'000);
  table.add("recovery.checkpoints_kept", recovery.checkpoints_kept, "of this job, the newest")
      .range(1, 1'000);
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
  table
      .add("recovery.out_steps", recovery.out_steps,
           "steps that a lost stage is left out at least, before it is rebuilt; for comparison")
      .range(0, 1'000'000);
  table
      .add("recovery.transfer_steps", recovery.transfer_steps,
           "steps that a rebuild lasts in `sidestep solo`; in a swarm it lasts as long as it takes")
      .range(0, 1'000'000);
}

void check_recovery(const RecoverySpec& recovery, std::int64_t stages, std::int64_t max_swaps,
                    Problems& problems) {
  if (!problems.sound({"recovery.policy"})) return;
  if (recovery.policy == "checkpoint" && recovery.every != RecoverySpec().every)
    problems.add_key("recovery.every", "is for mirrors; checkpoints have \"recovery.checkpoint_every\"");
  if (!recovery.directory.empty() && recovery.directory.front() != '/')
    problems.add_key("recovery.directory",
                     nlohmann::json(recovery.directory).dump() +
                         " is not an absolute path; every node has to see the same folder");
  if (recovery.policy != "checkfree+" || !problems.sound({"pipeline.stages", "pipeline.max_swaps"})) return;
  if (stages < twins_stages_least)
    problems.add_key("recovery.policy", "\"checkfree+\" needs at least " +
                                            std::to_string(twins_stages_least) +
                                            " stages, pipeline.stages is " + std::to_string(stages));
  if (max_swaps < twins_swaps)
    problems.add_key("pipeline.max_swaps", "value " + std::to_string(max_swaps) +
                                               " is too small for recovery.policy \"checkfree+\", at least " +
                                               std::to_string(twins_swaps) + " needed");
}

}  // namespace sidestep::scheduler

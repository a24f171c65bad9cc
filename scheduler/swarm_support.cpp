#include "scheduler/swarm_support.h"

namespace sidestep::scheduler {

Status check_for_swarm(const JobSpec& job, const std::string& source) {
  constexpr const char* solo_alone = " is for `sidestep solo` alone in this version";
  Problems problems(source);
  const RecoverySpec& recovery = job.recovery;
  if (recovery.policy == "checkpoint" && !recovery.writes_checkpoints())
    problems.add_missing("recovery.directory", "policy \"checkpoint\" needs a folder that all nodes see");
  if (recovery.policy == "mirror" && recovery.every > 1)
    problems.add_key("recovery.every",
                     "a mirror of every " + std::to_string(recovery.every) + " commits" + solo_alone);
  if (recovery.out_steps > 0)
    problems.add_key("recovery.out_steps", "value " + std::to_string(recovery.out_steps) + solo_alone);
  return problems.status();
}

}  // namespace sidestep::scheduler

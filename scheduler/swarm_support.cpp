#include "scheduler/swarm_support.h"

namespace sidestep::scheduler {

Status check_for_swarm(const JobSpec& job, const std::string& source) {
  Problems problems(source);
  if (job.recovery.policy == "checkpoint" && !job.recovery.writes_checkpoints())
    problems.add_missing("recovery.directory", "policy \"checkpoint\" needs a folder that all nodes see");
  return problems.status();
}

}  // namespace sidestep::scheduler

// What a job may ask of `sidestep solo`, and a swarm cannot do.
#pragma once

#include "net/status.h"
#include "scheduler/job.h"

namespace sidestep::scheduler {

// ok, or invalid with every such key of the job, one a line, as "SOURCE: key "recovery.policy": …".
Status check_for_swarm(const JobSpec& job, const std::string& source);

}  // namespace sidestep::scheduler

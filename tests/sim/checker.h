// Judges a swarm from outside: its run record against the job and the plan, its nodes against each other, and
// all of it against a replay in one process. Shares no code with what made the record.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "daemon/core/task_runner.h"
#include "daemon/simulator/sim_cluster.h"
#include "scheduler/job.h"
#include "scheduler/plan.h"
#include "scheduler/record.h"

namespace sidestep::sim {

// One line for each thing that is wrong; none: all is well.
using Problems = std::vector<std::string>;
// A line each.
std::string join(const Problems& problems);

// The plan that holds now, and the first that holds a stage in it.
scheduler::Plan plan_of(const SimCluster& cluster, const std::string& job);
std::size_t holder_of(const SimCluster& cluster, const std::string& job, std::uint32_t stage);

// Steps 0, 1, 2, ... each once; every microbatch closed once; on each stage of its final route one backward
// added by the node of the route, one head at its origin, nothing else; losses are means; routes are the
// those of the plan of their epoch, and of a length that the job says. `complete`: up to the job's last step.
Problems check_record(const scheduler::JobSpec& job, const std::map<std::uint64_t, scheduler::Plan>& plans,
                      const std::vector<scheduler::RecordStep>& steps, bool complete);

// Replicas hold the same weights after each commit, lost ones included; every node of the last plan has made
// every update; each average has the scale that the job says; nothing is kept after the end.
Problems check_nodes(const SimCluster& cluster, const std::string& job_id,
                     const std::vector<scheduler::RecordStep>& steps);

// A replay of the record with fresh runners gives the recorded losses: bit for bit if `tolerance` is 0, else
// to that relative difference.
Problems check_replay(const scheduler::JobSpec& job, const std::vector<scheduler::RecordStep>& steps,
                      const daemon::TaskRunnerFactory& factory, double tolerance);

// All of it for a job of fake runners that is done, the replay's weights against the nodes' included.
Problems check_done(const SimCluster& cluster, const std::string& job_id, const FakeOptions& fake);

}  // namespace sidestep::sim

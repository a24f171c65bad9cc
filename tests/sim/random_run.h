// One run of the simulator that a seed describes completely: a job, a swarm, faults and when they come.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/simulator/sim_cluster.h"
#include "tests/sim/sim_job.h"

namespace sidestep::sim {

struct RandomRun {
  JobShape job;
  SimOptions options;
  struct Cut {
    std::int64_t from_us = 0;
    std::int64_t to_us = 0;
    std::size_t a = 0;
    std::size_t b = 0;  // == a: from the scheduler
  };
  std::vector<Cut> cuts;                  // each heals before anybody is declared dead
  std::vector<std::int64_t> restarts_us;  // of the scheduler

  std::string describe() const;
};

RandomRun draw_run(std::uint64_t seed);

struct RunResult {
  std::vector<std::string> problems;  // empty: the job was done, and rightly
  std::string trace;
  std::string last_lines;
};

RunResult run(const RandomRun& drawn);
// One to three nodes are lost on the way, by a draw of the same seed. While every stage has a replica left
// the job goes on and is done, rightly; else it ends within 6 s of the last loss with the lost stage as the
// reason. Precondition: no cuts and no restarts, which delay the judgement.
RunResult run_with_loss(const RandomRun& drawn);

}  // namespace sidestep::sim

// Jobs for tests: small, valid, and shaped by a few numbers.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "scheduler/job.h"

namespace sidestep::sim {

struct JobShape {
  std::string name = "sim";
  std::int64_t stages = 3;
  std::int64_t microbatches = 4;
  std::int64_t steps = 5;
  std::int64_t slots = 2;
  nlohmann::json skip_ratio = 0.0;
  std::int64_t warmup_steps = 0;  // of the pipeline
  std::int64_t max_swaps = 0;
  std::int64_t validation_every = 0;
  std::vector<double> validation_skip;
  bool deterministic = false;
  bool tied = false;  // head and embedding share weights
  std::string gradient_scale = "visited";
  std::string recovery = "replica";   // the policy
  std::int64_t mirror_every = 1;      // commits; policy mirror
  std::int64_t checkpoint_every = 0;  // 0: none are written
  std::uint64_t seed = 1;
};

// As a user would write it; scheduler::parse_job takes it.
nlohmann::json job_json(const JobShape& shape);
scheduler::JobSpec job_spec(const JobShape& shape);

// Long enough for something to happen in it: 30 steps, 4 stages, 8 microbatches.
JobShape long_job();

}  // namespace sidestep::sim

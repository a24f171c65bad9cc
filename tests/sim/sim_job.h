// Jobs for tests: small, valid, and shaped by a few numbers.
#pragma once

#include <cstdint>

#include "scheduler/job.h"

namespace sidestep::sim {

struct JobShape {
  std::string name = "sim";
  std::int64_t stages = 3;
  std::int64_t microbatches = 4;
  std::int64_t steps = 5;
  std::int64_t slots = 2;
  std::int64_t validation_every = 0;
  bool deterministic = false;
  bool tied = false;  // head and embedding share weights
  std::string gradient_scale = "visited";
  std::uint64_t seed = 1;
};

// As a user would write it; scheduler::parse_job takes it.
nlohmann::json job_json(const JobShape& shape);
scheduler::JobSpec job_spec(const JobShape& shape);

}  // namespace sidestep::sim

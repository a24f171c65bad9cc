// What `sidestep plan` was asked for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sidestep::cli {

struct PlanRequest {
  std::string instance;  // file; or a link table, where the nodes are and a job
  std::string from_wan, nodes, model;
  std::optional<double> skip_ratio;  // in place of the job's
  std::string write_instance;        // file to write instead of planning
  std::vector<std::string> methods;
  std::string budget = "2s";  // for each method
  std::int64_t work = 0;      // task starts, in place of the budget; 0: by time
  std::int64_t threads = 0;   // 0: one per core
  std::int64_t lanes = 0;     // 0: one per thread; with `work` the planner's own number
  std::int64_t seed = 1;
  std::string start, start_name;  // plan file; which of its plans
  bool keep_placement = false;
  bool evaluate = false;  // only say what the start is worth
  std::string out, svg;   // files to write; empty: none
  bool json = false;
};

// Returns an Exit.
int run_plan(const PlanRequest& request);

}  // namespace sidestep::cli

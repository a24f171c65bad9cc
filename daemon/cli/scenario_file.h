// What `sidestep simulate` reads (docs/simulate.md): a job, machines, links and what happens to them.
#pragma once

#include <string>

#include "daemon/simulator/scenario.h"
#include "net/status.h"

namespace sidestep::cli {

// Errors: all problems at once, each with its key, value and bound; those of the job and of the link table
// that it names, or that the file cannot be read.
Result<sim::Scenario> load_scenario(const std::string& path);

// The table of keys, for the docs.
std::string scenario_keys_markdown();

}  // namespace sidestep::cli

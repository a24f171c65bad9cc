// What `sidestep solo` does once its flags are known: the job in this process, or the replay of a
// swarm's record. Ends at SIGINT or SIGTERM after the step that runs.
#pragma once

#include "daemon/cli/app.h"

namespace sidestep {

// Returns a cli::Exit: 1 also when a replay's losses differ by more than design.md allows.
int run_solo_command(const cli::SoloRequest& request);

}  // namespace sidestep

// What `sidestep generate` does once its flags are known: samples text from a folder's model, or measures its
// perplexity. Ends at SIGINT or SIGTERM after the token or the window that runs.
#pragma once

#include "daemon/cli/generate_request.h"

namespace sidestep {

// A job's weights are exported into a folder for the time being. Returns a cli::Exit.
int run_generate_command(const cli::GenerateRequest& request);

}  // namespace sidestep

// What `sidestep generate` does once its flags are known: samples text from a folder's model, or measures its
// perplexity. Ends at SIGINT or SIGTERM after the token or the window that runs.
#pragma once

#include "daemon/cli/generate_request.h"

namespace sidestep {

// `request.model` is the folder, whoever put it there. Returns a cli::Exit.
int generate_from_folder(const cli::GenerateRequest& request);

}  // namespace sidestep

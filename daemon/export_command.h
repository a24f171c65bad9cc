// sidestep export, behind the command line.
#pragma once

#include "daemon/cli/app.h"

namespace sidestep {

// Returns a cli::Exit.
int run_export_command(const cli::ExportRequest& request);

}  // namespace sidestep

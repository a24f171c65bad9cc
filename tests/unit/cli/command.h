// The command line as its user meets it: words in, status and what was printed out.
#pragma once

#include <string>
#include <vector>

#include "daemon/cli/app.h"

namespace sidestep::testing {

struct Outcome {
  int status = -1;
  std::string output, error;
};

// Without the word "sidestep" itself.
Outcome run_line(std::vector<std::string> words, const cli::Wiring& wiring = {});

}  // namespace sidestep::testing

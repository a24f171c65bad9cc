// A model that knows nothing, as an export.
#pragma once

#include <string>

#include "tests/process/swarm_fixture.h"

namespace sidestep::testing {

// FOLDER/model: bytes as tokens, 32 positions, as if of a job of 3 stages; all its weights are 0.
std::string write_model(const TemporaryFolder& folder);

}  // namespace sidestep::testing

// Pulling a stage of a snapshot into a file, by an operator's connection.
#pragma once

#include <functional>
#include <string>

#include "daemon/driver/client.h"
#include "net/status.h"
#include "recovery/slice_puller.h"

namespace sidestep::driver {

// Writes the part's bytes, and nothing else, to `path`, from the first source whose bytes have the digest
// that it promised. Precondition: the sources were connected (Client::connect_data). Memory: the window.
// Errors: every source with what was wrong with it, its link included; the disk's; interrupted.
// `meanwhile` is called every 20 ms or so, between two events.
Status pull_stage(Client& client, const recovery::PullRequest& request, const std::string& path,
                  std::function<void()> meanwhile);

}  // namespace sidestep::driver

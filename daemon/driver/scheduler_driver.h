// Runs the scheduler: the calling thread owns the event loop, the socket, the store and the
// SchedulerCore; plans are made on a thread beside it.
#pragma once

#include "daemon/driver/scheduler_config.h"
#include "net/keys.h"
#include "net/status.h"

namespace sidestep::driver {

// The file in the scheduler's data folder that holds the address it listens on, while it runs.
inline constexpr const char* endpoint_file = "endpoint";

// Returns when the scheduler has ended: ok on SIGINT or SIGTERM, else why (port in use, the store cannot
// be written). A second signal ends the process at once.
Status run_scheduler(const SchedulerConfig& config, const net::KeyPair& key);

}  // namespace sidestep::driver

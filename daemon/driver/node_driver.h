// Runs one daemon: the calling thread owns the event loop, the sockets and the NodeCore; tasks run on a
// TaskThread. The only place, besides the simulated cluster, that gives a NodeCore its events.
#pragma once

#include "daemon/driver/node_config.h"
#include "daemon/driver/task_thread.h"
#include "net/keys.h"
#include "net/status.h"

namespace sidestep::driver {

// Returns when the daemon has ended: ok on SIGINT or SIGTERM, or when the cloud takes the machine back, else
// why (refused by the scheduler, port in use). A second signal ends the process at once.
Status run_node(const NodeConfig& config, const net::KeyPair& key, const TaskThreadFactory& task_thread);

}  // namespace sidestep::driver

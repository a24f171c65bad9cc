// A daemon's config file. One table in node_config.cpp defines every key. Values.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/driver/emulate.h"
#include "daemon/driver/local_log.h"
#include "daemon/driver/scheduler_block.h"
#include "daemon/driver/spot_block.h"
#include "net/node_key.h"
#include "net/status.h"
#include "scheduler/options.h"

namespace sidestep::driver {

struct NodeConfig {
  std::string nickname;
  std::string bind = "0.0.0.0:0";  // for other daemons' data; port 0: any free one
  std::string advertise;           // as other daemons reach it; empty: `bind`, with the port that it got
  SchedulerBlock scheduler;
  std::string key_file;
  std::string data_dir;
  std::int64_t threads = 0;  // compute threads; 0: one per core
  std::string device = "cpu";
  std::int64_t memory_bytes = 0;    // 0: what the device has
  std::int64_t snapshots_kept = 4;  // jobs
  std::int64_t message_bytes_max = std::int64_t{1} << 30;
  std::int64_t drain_ms = 25'000;  // after SIGTERM others take this node's stages over, so long
  SpotBlock spot;
  LogOptions log;
  EmulateBlock emulate;
};

scheduler::OptionTable node_config_table(NodeConfig& config);

// Relative paths in the file are taken from the file's folder; `threads` is filled in from the machine. A
// `token` stands in for the file's `invite`. Errors: not_found, invalid (every problem, one a line).
Result<NodeConfig> load_node_config(const std::string& path, const std::string& token = "");

// `path` as seen from the folder of `file`; absolute and empty paths stay as they are.
std::string beside(const std::string& file, const std::string& path);

}  // namespace sidestep::driver

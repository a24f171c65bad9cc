// The scheduler's config file. One table in scheduler_config.cpp defines every key. Values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/driver/local_log.h"
#include "net/node_key.h"
#include "net/status.h"
#include "scheduler/options.h"

namespace sidestep::driver {

struct SchedulerConfig {
  std::string bind = "0.0.0.0:7000";  // port 0: any free one, which data_dir/endpoint then tells
  std::string advertise;              // as nodes and operators reach it; empty: `bind`, with the port it got
  std::string key_file;
  std::string data_dir;
  std::vector<std::string> nodes;      // public keys that may run daemons
  std::vector<std::string> operators;  // public keys that may submit, cancel and ask
  std::int64_t heartbeat_ms = 200;
  std::int64_t closed_dead_ms = 500;
  std::int64_t silent_dead_ms = 5'000;
  std::int64_t prepare_limit_ms = 60'000;
  std::int64_t planning_work = 8'000'000;  // tasks simulated
  std::int64_t planning_threads = 0;       // 0: all cores but one
  std::int64_t job_log_bytes_max = 1'000'000'000;
  std::int64_t job_log_days_max = 30;
  LogOptions log;
};

scheduler::OptionTable scheduler_config_table(SchedulerConfig& config);

// Relative paths in the file are taken from the file's folder. Errors: not_found, invalid (every problem,
// one a line).
Result<SchedulerConfig> load_scheduler_config(const std::string& path);

}  // namespace sidestep::driver

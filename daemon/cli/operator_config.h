// The operator's config file, and a connection made from it.
#pragma once

#include <memory>
#include <string>

#include "daemon/cli/flags.h"
#include "daemon/driver/client.h"
#include "daemon/driver/scheduler_block.h"
#include "net/status.h"
#include "scheduler/options.h"

namespace sidestep::cli {

struct OperatorConfig {
  driver::SchedulerBlock scheduler;
  std::string key_file;
};

scheduler::OptionTable operator_config_table(OperatorConfig& config);

// `key_file` is taken from the config file's folder. A `token` stands in for the file's `invite`.
// Errors: not_found, with how to get one; invalid.
Result<OperatorConfig> load_operator_config(const std::string& path, const std::string& token = "");

// Reads config and key; contacts nobody yet. Ctrl-C ends its waits once catch_interrupts() was called.
Result<std::unique_ptr<driver::Client>> connect(const OperatorFlags& flags);

// From now on SIGINT and SIGTERM set a mark instead of ending the process.
void catch_interrupts();
bool interrupted();

}  // namespace sidestep::cli

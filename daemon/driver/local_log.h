// Where a process writes what it logs: short lines on standard error (coloured on a terminal) and a
// rotating file. Shipping lines to the scheduler is the core's business.
// Owned and called by the driver's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "net/messages.h"
#include "net/status.h"
#include "scheduler/options.h"

namespace spdlog {
class logger;
}

namespace sidestep::driver {

struct LogOptions {
  std::string file;  // empty: none
  bool standard_error = true;
  std::string level = "info";  // least level written
  std::int64_t file_bytes_max = 10 << 20;
  std::int64_t files_max = 5;  // older files go first
};

// Adds the keys of a `log` block, as config files have it.
void add_log_options(scheduler::OptionTable& table, LogOptions& options);

class LocalLog {
 public:
  // Makes the file's folder. Errors: io.
  static Result<std::unique_ptr<LocalLog>> open(const LogOptions& options);
  ~LocalLog();

  void write(const net::LogLine& line);
  // A line that no core knows of.
  void write(net::LogLevel level, const std::string& text);

 private:
  explicit LocalLog(std::shared_ptr<spdlog::logger> logger);

  std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace sidestep::driver

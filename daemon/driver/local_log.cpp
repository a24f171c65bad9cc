#include "daemon/driver/local_log.h"

#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <filesystem>

#include "net/clock.h"
#include "scheduler/requests.h"

namespace sidestep::driver {
namespace {

spdlog::level::level_enum level_of(net::LogLevel level) {
  switch (level) {
    case net::LogLevel::debug:
      return spdlog::level::debug;
    case net::LogLevel::info:
      return spdlog::level::info;
    case net::LogLevel::warning:
      return spdlog::level::warn;
    case net::LogLevel::error:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

}  // namespace

void add_log_options(scheduler::OptionTable& table, LogOptions& options) {
  table.add("log.file", options.file, "log file; empty: none besides standard error")
      .default_text("a file in data_dir");
  table.add("log.standard_error", options.standard_error, "whether to log on standard error as well");
  table.add("log.level", options.level, "least level written").one_of({"debug", "info", "warning", "error"});
  table.add("log.file_bytes_max", options.file_bytes_max, "size at which a new file is begun")
      .range(1 << 10, 1LL << 40);
  table.add("log.files_max", options.files_max, "files kept; older ones go first").range(1, 1000);
}

Result<std::unique_ptr<LocalLog>> LocalLog::open(const LogOptions& options) {
  std::vector<spdlog::sink_ptr> sinks;
  if (options.standard_error) {
    sinks.push_back(std::make_shared<spdlog::sinks::stderr_color_sink_st>());
    sinks.back()->set_pattern("%H:%M:%S %^%l%$ %v");
  }
  if (!options.file.empty()) {
    try {
      std::filesystem::create_directories(std::filesystem::absolute(options.file).parent_path());
      sinks.push_back(std::make_shared<spdlog::sinks::rotating_file_sink_st>(
          options.file, static_cast<std::size_t>(options.file_bytes_max),
          static_cast<std::size_t>(options.files_max)));
    } catch (const std::exception& problem) {
      return Status::io(options.file + ": cannot be written: " + problem.what());
    }
    sinks.back()->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
  }
  auto logger = std::make_shared<spdlog::logger>("sidestep", sinks.begin(), sinks.end());
  const auto least = scheduler::log_level_from_string(options.level);
  logger->set_level(level_of(least.ok() ? least.value() : net::LogLevel::info));
  logger->flush_on(spdlog::level::debug);
  return std::unique_ptr<LocalLog>(new LocalLog(std::move(logger)));
}

LocalLog::LocalLog(std::shared_ptr<spdlog::logger> logger) : logger_(std::move(logger)) {}
LocalLog::~LocalLog() = default;

void LocalLog::write(const net::LogLine& line) {
  std::string text;
  if (!line.job.empty())
    text += "[" + line.job + (line.stage ? " stage " + std::to_string(*line.stage) : "") + "] ";
  text += line.text;
  const auto time = std::chrono::time_point<std::chrono::system_clock>(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(
          std::chrono::microseconds(line.wall_us)));
  logger_->log(time, spdlog::source_loc{}, level_of(line.level), text);
}

void LocalLog::write(net::LogLevel level, const std::string& text) {
  write(net::LogLine{net::wall_us(), level, "", std::nullopt, text});
}

}  // namespace sidestep::driver

#include "daemon/driver/health.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

namespace sidestep::driver {
namespace {

// Every beat has this size, so that none leaves the end of a longer one behind.
constexpr std::size_t beat_bytes = 512;

std::string seconds(std::int64_t us) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f s", static_cast<double>(us) / 1e6);
  return text;
}

}  // namespace

HealthFile::~HealthFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  std::remove(path_.c_str());
}

Status HealthFile::open(const std::string& data_dir) {
  std::error_code problem;
  std::filesystem::create_directories(data_dir, problem);
  if (problem) return Status::io(data_dir + ": cannot be made: " + problem.message());
  path_ = data_dir + "/" + health_file;
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) return Status::io(path_ + ": cannot be written: " + std::strerror(errno));
  return {};
}

void HealthFile::beat(std::int64_t now_us, std::int64_t wall_us, const std::string& state) {
  next_us_ = now_us + health_beat_us;
  std::string text = nlohmann::json{{"wall_us", wall_us}, {"state", state.substr(0, beat_bytes / 2)}}.dump(
      -1, ' ', true, nlohmann::json::error_handler_t::replace);
  text.resize(beat_bytes - 1, ' ');
  text += '\n';
  [[maybe_unused]] const ssize_t written = ::pwrite(fd_, text.data(), text.size(), 0);
}

Result<std::string> read_health(const std::string& data_dir, std::int64_t wall_us) {
  const std::string path = data_dir + "/" + health_file;
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return Status::not_found(path + ": " + std::strerror(errno) + "; nothing runs with this data folder");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || !json.value("wall_us", nlohmann::json()).is_number_integer() ||
      !json.value("state", nlohmann::json()).is_string())
    return Status::invalid(path + ": not a health file");
  // A clock that was set back makes an age below zero, until the next beat.
  const std::int64_t age_us = wall_us - json.at("wall_us").get<std::int64_t>();
  const std::string state = json.at("state");
  if (age_us > health_silent_us_max)
    return Status::io(path + ": silent for " + seconds(age_us) + ", limit " + seconds(health_silent_us_max) +
                      "; said last: " + state);
  return state;
}

}  // namespace sidestep::driver

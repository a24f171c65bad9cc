// A process's sign of life: DATA_DIR/health, written anew every second from its event loop. A process that
// hangs or is gone stops writing it. For health checks of containers and the like, on the same machine.
#pragma once

#include <cstdint>
#include <string>

#include "net/status.h"

namespace sidestep::driver {

inline constexpr const char* health_file = "health";
inline constexpr std::int64_t health_beat_us = 1'000'000;
inline constexpr std::int64_t health_silent_us_max = 10'000'000;

// The writer; owned and called by the driver's thread. The file goes when it goes.
class HealthFile {
 public:
  HealthFile() = default;
  ~HealthFile();
  HealthFile(const HealthFile&) = delete;
  HealthFile& operator=(const HealthFile&) = delete;

  // Makes the folder. Errors: io.
  Status open(const std::string& data_dir);
  bool due(std::int64_t now_us) const { return fd_ >= 0 && now_us >= next_us_; }
  // `state` is for people. What cannot be written is left: the file's age tells. It is written over in
  // place, which a full disk allows.
  void beat(std::int64_t now_us, std::int64_t wall_us, const std::string& state);

 private:
  std::string path_;
  int fd_ = -1;
  std::int64_t next_us_ = 0;
};

// What the process that keeps `data_dir` said last. Errors: not_found, when no process does; invalid, when
// the file is not understood; io, when it said nothing for too long.
Result<std::string> read_health(const std::string& data_dir, std::int64_t wall_us);

}  // namespace sidestep::driver

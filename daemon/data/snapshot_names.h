// Names of folders and files that hold jobs' states.
#pragma once

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <string>

#include "net/status.h"

namespace sidestep::daemon {

inline std::string stage_file_name(std::uint32_t stage) {
  return "stage-" + std::to_string(stage) + ".safetensors";
}

// Job ids come from peers, and become folders.
inline Status check_snapshot_name(const std::string& job) {
  constexpr std::size_t name_bytes_max = 128;
  const bool plain = !job.empty() && job.size() <= name_bytes_max && job.front() != '.' &&
                     std::all_of(job.begin(), job.end(), [](unsigned char c) {
                       return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
                     });
  return plain ? Status() : Status::invalid("a job of that name cannot have snapshots");
}

}  // namespace sidestep::daemon

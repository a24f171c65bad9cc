// Names of folders and files that hold jobs' states.
#pragma once

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <string>

namespace sidestep::daemon {

inline std::string stage_file_name(std::uint32_t stage) {
  return "stage-" + std::to_string(stage) + ".safetensors";
}

// Of a folder or file in its place: names come from peers.
inline bool is_plain_name(const std::string& name) {
  constexpr std::size_t name_bytes_max = 128;
  return !name.empty() && name.size() <= name_bytes_max && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
         });
}

}  // namespace sidestep::daemon

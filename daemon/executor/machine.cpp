#include "daemon/executor/machine.h"

#include <ATen/Version.h>

#include <algorithm>
#include <cctype>
#include <fstream>

namespace sidestep::daemon {
namespace {

// The first number of a one-line file; 0 if there is none ("max" means no limit).
std::uint64_t number_in(const char* path) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  return file >> value ? value : 0;
}

std::uint64_t total_memory_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string word;
  while (file >> word) {
    std::uint64_t kibibytes = 0;
    if (word == "MemTotal:" && file >> kibibytes) return kibibytes * 1024;
  }
  return 0;
}

}  // namespace

std::string device_class() {
  std::string name = "cpu-";
  for (const char letter : at::get_cpu_capability())
    if (std::isalnum(static_cast<unsigned char>(letter)))
      name += static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return name;
}

std::uint64_t memory_limit_bytes() {
  std::uint64_t limit = total_memory_bytes();
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    const std::uint64_t bytes = number_in(path);
    if (bytes != 0) limit = limit == 0 ? bytes : std::min(limit, bytes);
  }
  return limit;
}

}  // namespace sidestep::daemon

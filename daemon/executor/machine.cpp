#include "daemon/executor/machine.h"

#include <ATen/Version.h>

#include <unistd.h>

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

// "AuthenticAMD", "GenuineIntel"; empty if the kernel does not say.
std::string cpu_maker() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line))
    if (line.starts_with("vendor_id")) return line.substr(line.find(':') + 1);
  return {};
}

// Letters and digits alone, in lower case.
std::string plain(const std::string& text) {
  std::string result;
  for (const unsigned char letter : text)
    if (std::isalnum(letter)) result += static_cast<char>(std::tolower(letter));
  return result;
}

}  // namespace

std::string device_class() {
  const std::string maker = cpu_maker();
  return "cpu-" + plain(at::get_cpu_capability()) + (maker.empty() ? "" : "-" + plain(maker));
}

Status check_device(const std::string& device) {
  if (device == "cpu") return {};
  return Status::invalid("device \"" + device +
                         "\" is not available in this build of the daemon; known: cpu");
}

std::uint64_t memory_limit_bytes() {
  std::uint64_t limit = total_memory_bytes();
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    const std::uint64_t bytes = number_in(path);
    if (bytes != 0) limit = limit == 0 ? bytes : std::min(limit, bytes);
  }
  return limit;
}

std::uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t whole = 0, resident = 0;
  return file >> whole >> resident ? resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)) : 0;
}

}  // namespace sidestep::daemon

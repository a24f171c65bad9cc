#include "daemon/executor/machine.h"

#include <ATen/Version.h>
#include <dlfcn.h>
#include <torch/version.h>

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
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

// "2.11.0" of "2.11.0+cu130", or of the line `__version__ = '2.11.0+cu130'`.
std::string version_number(const std::string& text) {
  const std::size_t begin = text.find_first_of("0123456789");
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_first_not_of("0123456789.", begin) - begin);
}

}  // namespace

LibTorch loaded_libtorch() {
  LibTorch found{version_number(TORCH_VERSION), {}, {}};
  Dl_info place{};
  if (::dladdr(reinterpret_cast<const void*>(&at::get_cpu_capability), &place) == 0 ||
      place.dli_fname == nullptr)
    return found;
  std::error_code problem;
  const std::filesystem::path library = std::filesystem::canonical(place.dli_fname, problem);
  if (problem) return found;
  const std::filesystem::path folder = library.parent_path().parent_path();
  found.folder = folder.string();
  // A wheel has the first file, an archive the second.
  for (const char* name : {"version.py", "build-version"}) {
    std::ifstream file(folder / name);
    for (std::string line; found.version.empty() && std::getline(file, line);)
      if (name[0] == 'b' || line.starts_with("__version__")) found.version = version_number(line);
  }
  return found;
}

std::string cpu_class() {
  const std::string maker = cpu_maker();
  return "cpu-" + plain(at::get_cpu_capability()) + (maker.empty() ? "" : "-" + plain(maker));
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
  std::uint64_t whole = 0, resident = 0, of_files = 0;  // pages
  if (!(file >> whole >> resident >> of_files) || resident < of_files) return 0;
  return (resident - of_files) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace sidestep::daemon

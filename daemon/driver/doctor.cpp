#include "daemon/driver/doctor.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "daemon/driver/doctor_parts.h"
#include "daemon/driver/health.h"
#include "net/clock.h"

namespace sidestep::driver {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t disk_bytes_needed = 64u << 20;  // besides logs
constexpr std::uint64_t disk_bytes_comfortable = 1u << 30;

std::string gibibytes(std::uint64_t bytes) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.2f GiB", static_cast<double>(bytes) / (1u << 30));
  return text.data();
}

std::optional<net::KeyPair> examine_key(const DoctorOptions& options) {
  const std::string& file = options.config.key_file;
  const auto key = net::read_key_file(file);
  if (key.ok()) {
    options.found({"key", Verdict::ok,
                   file + " holds key " + key.value().public_key.hex() + ", its owner's alone", ""});
    return key.value();
  }
  const Code code = key.status().code();
  if (code == Code::not_found && options.config.scheduler.invite)
    options.found({"key", Verdict::ok,
                   file + " is not there; the daemon makes it at its first start and is let in by its invite",
                   ""});
  else if (code == Code::not_found)
    options.found({"key", Verdict::failed, file + " is not there",
                   "sidestep keygen --out " + fs::path(file).parent_path().string() +
                       ", or ask an operator for an invite"});
  else if (code == Code::refused)
    options.found({"key", Verdict::failed, key.status().message(), "chmod 600 " + file});
  else
    options.found(
        {"key", Verdict::failed, key.status().message(),
         "put the right key file there, or make another with sidestep keygen and have it admitted"});
  return std::nullopt;
}

void examine_libtorch(const DoctorOptions& options) {
  const MachineFacts& machine = options.machine;
  const std::string place = machine.libtorch_folder.empty() ? "" : " in " + machine.libtorch_folder;
  if (machine.libtorch_found == machine.libtorch_wanted)
    options.found({"libtorch", Verdict::ok, "LibTorch " + machine.libtorch_found + place, ""});
  else if (machine.libtorch_found.empty())
    options.found(
        {"libtorch", Verdict::warning,
         "the version of LibTorch" + place + " cannot be told; " + machine.libtorch_wanted + " is needed",
         "point LD_LIBRARY_PATH, or a bundle's SIDESTEP_LIBTORCH, at LibTorch " + machine.libtorch_wanted});
  else
    options.found(
        {"libtorch", Verdict::failed,
         "LibTorch " + machine.libtorch_found + place + ", but the program is built for " +
             machine.libtorch_wanted,
         "point LD_LIBRARY_PATH, or a bundle's SIDESTEP_LIBTORCH, at LibTorch " + machine.libtorch_wanted});
}

// What programs may still take without swapping; 0: unknown.
std::uint64_t available_memory_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string word;
  while (file >> word) {
    std::uint64_t kibibytes = 0;
    if (word == "MemAvailable:" && file >> kibibytes) return kibibytes * 1024;
  }
  return 0;
}

void examine_device(const DoctorOptions& options) {
  const std::string& problem = options.machine.device_problem;
  if (problem.empty()) {
    options.found({"device", Verdict::ok, options.config.device + " is " + options.machine.device_class, ""});
    return;
  }
  // What to do is told after the first semicolon.
  const std::size_t end = problem.find("; ");
  options.found({"device", Verdict::failed, problem.substr(0, end),
                 end == std::string::npos ? "set \"device\" to \"cpu\"" : problem.substr(end + 2)});
}

void examine_gpu_memory(const DoctorOptions& options) {
  const std::uint64_t free = options.machine.memory_limit_bytes;
  const auto set = static_cast<std::uint64_t>(options.config.memory_bytes);
  const std::string facts = "jobs may use " + gibibytes(set > 0 ? set : free) + " of " + gibibytes(free) +
                            " that are free on " + options.config.device;
  if (set > free)
    options.found({"memory", Verdict::failed, facts,
                   "set memory_bytes to " + std::to_string(free) +
                       " or less, or end what uses the rest (nvidia-smi shows it)"});
  else
    options.found({"memory", Verdict::ok, facts, ""});
}

void examine_memory(const DoctorOptions& options) {
  const std::uint64_t limit = options.machine.memory_limit_bytes;
  const bool is_set = options.config.memory_bytes > 0;
  const std::uint64_t wanted = is_set ? static_cast<std::uint64_t>(options.config.memory_bytes) : limit;
  const std::uint64_t available = std::min(available_memory_bytes(), limit == 0 ? UINT64_MAX : limit);
  const std::string facts = "jobs may use " + gibibytes(wanted) + " of " + gibibytes(limit) +
                            " that the machine or its control group allows; " + gibibytes(available) +
                            " are free now";
  if (limit != 0 && wanted > limit)
    options.found(
        {"memory", Verdict::failed, facts, "set memory_bytes to " + std::to_string(limit) + " or less"});
  else if (available != 0 &&
           wanted / (is_set ? 1 : 2) > available)  // unset, it stands for about all there is
    options.found(
        {"memory", Verdict::warning, facts,
         "set memory_bytes to " + std::to_string(available) + " or less, or end what uses the rest"});
  else
    options.found({"memory", Verdict::ok, facts, ""});
}

void examine_disk(const DoctorOptions& options) {
  const LogOptions& log = options.config.log;
  const std::uint64_t needed = disk_bytes_needed + static_cast<std::uint64_t>(log.file_bytes_max) *
                                                       static_cast<std::uint64_t>(log.files_max);
  const fs::path folder = fs::absolute(options.config.data_dir);
  fs::path there = folder;
  std::error_code problem;
  while (!fs::exists(there, problem) && there.has_relative_path()) there = there.parent_path();
  const fs::space_info space = fs::space(there, problem);
  const std::string facts = folder.string() + " has room for " +
                            (problem ? "?" : gibibytes(space.available)) + "; logs may take up to " +
                            gibibytes(needed - disk_bytes_needed);
  if (problem)
    options.found(
        {"disk", Verdict::failed, folder.string() + ": " + problem.message(), "choose another data_dir"});
  else if (::access(there.c_str(), W_OK | X_OK) != 0)
    options.found(
        {"disk", Verdict::failed, there.string() + " cannot be written to by this user",
         "choose another data_dir, or: chown " + std::to_string(::getuid()) + " " + there.string()});
  else if (space.available < needed)
    options.found({"disk", Verdict::failed, facts, "make room, or choose another data_dir"});
  else if (space.available < needed + disk_bytes_comfortable)
    options.found({"disk", Verdict::warning, facts, "make room, or choose another data_dir"});
  else
    options.found({"disk", Verdict::ok, facts, ""});
}

}  // namespace

std::string_view to_string(Verdict verdict) {
  return verdict == Verdict::ok ? "ok" : verdict == Verdict::warning ? "warning" : "failed";
}

LocalState examine_machine(const DoctorOptions& options) {
  LocalState local;
  local.key = examine_key(options);
  examine_libtorch(options);
  examine_device(options);
  const bool computes_on_cpu = options.config.device == "cpu";
  if (computes_on_cpu)
    examine_memory(options);
  else if (options.machine.device_problem.empty())
    examine_gpu_memory(options);
  examine_disk(options);
  if (const auto health = read_health(options.config.data_dir, net::wall_us()); health.ok()) {
    local.daemon_runs = true;
    options.found(
        {"daemon", Verdict::ok, "a daemon with this config is running already: " + health.value(), ""});
  }
  return local;
}

bool examine(const DoctorOptions& options) {
  const LocalState local = examine_machine(options);
  examine_spot(options);
  return examine_network(options, local);
}

}  // namespace sidestep::driver

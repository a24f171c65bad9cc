#include "daemon/cli/swarm.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

namespace sidestep::cli {
namespace {

namespace fs = std::filesystem;

// The key in `path`, made when there is none.
Result<net::NodeKey> key_at(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored))
    if (const Status status = net::write_key_file(path.string(), net::generate_key_pair()); !status.ok())
      return status;
  const auto key = net::read_key_file(path.string());
  if (!key.ok()) return key.status();
  return key.value().public_key;
}

Status write_json(const std::string& path, const nlohmann::json& json) {
  return write_file(path, json.dump(2) + "\n");
}

}  // namespace

Status write_file(const std::string& path, const std::string& text) {
  const std::string unfinished = path + ".new";
  std::ofstream file(unfinished, std::ios::trunc | std::ios::binary);
  file << text;
  file.close();
  if (!file || std::rename(unfinished.c_str(), path.c_str()) != 0)
    return Status::io(path + ": cannot be written: " + std::strerror(errno));
  return {};
}

Result<SwarmFolder> SwarmFolder::prepare(const SwarmOptions& options) {
  std::error_code problem;
  const fs::path dir = fs::absolute(options.dir, problem).lexically_normal();
  SwarmFolder folder(options, dir);
  std::vector<fs::path> needed{dir / "logs", dir / "scheduler"};
  for (std::int64_t i = 0; i < options.nodes; ++i)
    needed.push_back(dir / nickname(static_cast<std::size_t>(i)));
  for (const fs::path& path : needed) {
    fs::create_directories(path, problem);
    if (problem) return Status::io(path.string() + ": cannot be made: " + problem.message());
  }
  if (Status status = folder.lock(); !status.ok()) return status;
  fs::remove(folder.ready_file(), problem);

  const auto scheduler = key_at(dir / "scheduler" / "node.key");
  if (!scheduler.ok()) return scheduler.status();
  folder.scheduler_ = scheduler.value();
  const auto operator_key = key_at(dir / "operator.key");
  if (!operator_key.ok()) return operator_key.status();
  folder.operator_ = operator_key.value();
  for (std::int64_t i = 0; i < options.nodes; ++i) {
    const auto key = key_at(dir / nickname(static_cast<std::size_t>(i)) / "node.key");
    if (!key.ok()) return key.status();
    folder.nodes_.push_back(key.value());
  }
  return folder;
}

SwarmFolder::~SwarmFolder() {
  if (lock_ >= 0) close(lock_);
}

SwarmFolder::SwarmFolder(SwarmFolder&& other) noexcept
    : options_(std::move(other.options_)),
      dir_(std::move(other.dir_)),
      lock_(std::exchange(other.lock_, -1)),
      scheduler_(other.scheduler_),
      operator_(other.operator_),
      nodes_(std::move(other.nodes_)) {}

Status SwarmFolder::lock() {
  const std::string path = (dir_ / "lock").string();
  lock_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_ < 0) return Status::io(path + ": " + std::strerror(errno));
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0)
    return Status::refused(dir_.string() +
                           ": another `sidestep up` is using this folder; name another one by --dir");
  return {};
}

std::int64_t SwarmFolder::threads() const {
  if (options_.threads > 0) return options_.threads;
  return std::max<std::int64_t>(1, std::thread::hardware_concurrency() / options_.nodes);
}

std::string SwarmFolder::scheduler_bind() const { return "127.0.0.1:" + std::to_string(options_.port_base); }

Status SwarmFolder::write_scheduler_config(const std::string& bind) const {
  nlohmann::json nodes = nlohmann::json::array();
  for (const auto& key : nodes_) nodes.push_back(key.hex());
  return write_json(scheduler_config(),
                    {{"bind", bind},
                     {"key_file", "node.key"},
                     {"data_dir", "data"},
                     {"nodes", nodes},
                     {"operators", {operator_.hex()}},
                     {"log", {{"file", log_file("scheduler")}, {"standard_error", false}}}});
}

Status SwarmFolder::write_node_configs(const std::string& scheduler_address) const {
  const auto memory = static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    const std::int64_t port =
        options_.port_base == 0 ? 0 : options_.port_base + 1 + static_cast<std::int64_t>(i);
    nlohmann::json config{{"nickname", nickname(i)},
                          {"bind", "127.0.0.1:" + std::to_string(port)},
                          {"scheduler", {{"address", scheduler_address}, {"public_key", scheduler_.hex()}}},
                          {"key_file", "node.key"},
                          {"data_dir", "data"},
                          {"threads", threads()},
                          {"device", options_.device},
                          {"log", {{"file", log_file(nickname(i))}, {"standard_error", false}}}};
    // They share this machine's memory. What a GPU has, each daemon finds out itself.
    if (options_.device == "cpu") config["memory_bytes"] = memory / options_.nodes;
    if (!options_.emulate.empty()) config["emulate"] = driver::to_json(options_.emulate[i]);
    if (Status status = write_json(node_config(i), config); !status.ok()) return status;
  }
  return {};
}

Status SwarmFolder::write_operator_config(const std::string& scheduler_address) const {
  return write_json(operator_config(),
                    {{"scheduler", {{"address", scheduler_address}, {"public_key", scheduler_.hex()}}},
                     {"key_file", "operator.key"}});
}

std::string SwarmFolder::scheduler_config() const { return (dir_ / "scheduler" / "scheduler.json").string(); }
std::string SwarmFolder::scheduler_data() const { return (dir_ / "scheduler" / "data").string(); }
std::string SwarmFolder::node_config(std::size_t node) const {
  return (dir_ / nickname(node) / "node.json").string();
}
std::string SwarmFolder::operator_config() const { return (dir_ / "operator.json").string(); }
std::string SwarmFolder::log_file(const std::string& name) const {
  return (dir_ / "logs" / (name + ".log")).string();
}
std::string SwarmFolder::output_file(const std::string& name) const {
  return (dir_ / "logs" / (name + ".out")).string();
}
std::string SwarmFolder::ready_file() const { return (dir_ / "ready").string(); }

}  // namespace sidestep::cli

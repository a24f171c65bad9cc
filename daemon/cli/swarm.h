// The folder of a local swarm: keys, config files and logs of a scheduler, N daemons and an operator.
//
//   DIR/operator.json, DIR/operator.key     what `submit` and the others need
//   DIR/scheduler/, DIR/node-1/ ...         config, key and data of each process
//   DIR/logs/NAME.log, NAME.out             what it logs; what else it printed (crashes)
//   DIR/ready                               who runs (JSON), while all do
//   DIR/lock                                held by the `sidestep up` that uses the folder
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "daemon/driver/emulate.h"
#include "net/keys.h"
#include "net/status.h"

namespace sidestep::cli {

struct SwarmOptions {
  std::int64_t nodes = 6;
  std::string dir = "run/swarm";
  std::int64_t threads = 0;    // compute threads of each daemon; 0: the machine's cores shared out
  std::string device = "cpu";  // of every daemon
  std::int64_t port_base = 0;  // scheduler here, node i at port_base + i; 0: any free ports
  std::vector<driver::EmulateBlock> emulate;  // by node; empty: they are what they are
};

class SwarmFolder {
 public:
  // Makes what is missing and takes keys that are there. Errors: refused (another `up` uses it), io, and
  // those of key files.
  static Result<SwarmFolder> prepare(const SwarmOptions& options);
  ~SwarmFolder();
  SwarmFolder(SwarmFolder&& other) noexcept;
  SwarmFolder& operator=(SwarmFolder&&) = delete;

  // Config files. The scheduler's address is known only when it listens, so that no port is guessed.
  Status write_scheduler_config(const std::string& bind) const;
  Status write_node_configs(const std::string& scheduler_address) const;
  Status write_operator_config(const std::string& scheduler_address) const;

  std::string scheduler_bind() const;  // before the port is known
  std::string scheduler_config() const;
  std::string scheduler_data() const;
  std::string node_config(std::size_t node) const;
  std::string operator_config() const;
  std::string log_file(const std::string& name) const;
  std::string output_file(const std::string& name) const;
  std::string ready_file() const;
  static std::string nickname(std::size_t node) { return "node-" + std::to_string(node + 1); }
  std::size_t node_count() const { return nodes_.size(); }
  const net::NodeKey& node_key(std::size_t node) const { return nodes_[node]; }

 private:
  SwarmFolder(SwarmOptions options, std::filesystem::path dir)
      : options_(std::move(options)), dir_(std::move(dir)) {}
  Status lock();
  std::int64_t threads() const;

  SwarmOptions options_;
  std::filesystem::path dir_;  // absolute
  int lock_ = -1;
  net::NodeKey scheduler_;
  net::NodeKey operator_;
  std::vector<net::NodeKey> nodes_;
};

// Whole or not at all, even for a reader at the same time. Errors: io.
Status write_file(const std::string& path, const std::string& text);

}  // namespace sidestep::cli

#include "daemon/driver/node_config.h"

#include <algorithm>
#include <filesystem>
#include <thread>

#include "daemon/core/device_name.h"
#include "daemon/driver/advertise.h"
#include "net/address.h"

namespace sidestep::driver {

scheduler::OptionTable node_config_table(NodeConfig& config) {
  scheduler::OptionTable table;
  table.add("nickname", config.nickname, "name of this node in logs and tables").required();
  table.add("bind", config.bind,
            "address and port on which other daemons reach this one; port 0: any free one");
  table
      .add("advertise", config.advertise,
           "the same as other machines see it; port 0: the one that `bind` got")
      .default_text("`bind`, unless that is 0.0.0.0");
  add_scheduler_keys(table, config.scheduler);
  table
      .add("key_file", config.key_file,
           "this node's key, made by `sidestep keygen`, or at the first start where there is an `invite`")
      .required();
  table.add("data_dir", config.data_dir, "folder for logs and whatever else the daemon keeps").required();
  table.add("threads", config.threads, "compute threads").range(0, 4096).default_text("one per core");
  table.add("device", config.device, "what computes: \"cpu\", or \"cuda:0\" and on for an NVIDIA GPU");
  table.add("memory_bytes", config.memory_bytes, "memory that the daemon may use, its own and a job's")
      .range(0, 1e15)
      .default_text("what the machine has, or what is free on the GPU");
  table.add("snapshots_kept", config.snapshots_kept, "jobs whose last states stay in data_dir/snapshots")
      .range(1, 1'000);
  table.add("message_bytes_max", config.message_bytes_max, "largest tensor taken from another daemon")
      .range(1 << 16, 1LL << 32);
  table
      .add("drain_ms", config.drain_ms,
           "after SIGTERM or a cloud's notice without a time, others take over what this node does, so long; "
           "0: it ends at once, as it does after SIGINT or a second SIGTERM")
      .range(0, 86'400'000);
  add_spot_keys(table, config.spot);
  add_log_options(table, config.log);
  add_emulate_keys(table, config.emulate);
  return table;
}

std::string beside(const std::string& file, const std::string& path) {
  if (path.empty() || std::filesystem::path(path).is_absolute()) return path;
  return (std::filesystem::path(file).parent_path() / path).lexically_normal().string();
}

Result<NodeConfig> load_node_config(const std::string& path, const std::string& token) {
  const auto json = scheduler::load_json_file(path);
  if (!json.ok()) return json.status();
  NodeConfig config;
  scheduler::Problems problems(path);
  node_config_table(config).read(json.value(), problems);
  finish_scheduler_keys(config.scheduler, token, problems);
  if (const auto device = daemon::parse_device_name(config.device); !device.ok())
    problems.add_key("device", device.status().message());
  check_spot_keys(config.spot, problems);
  if (!config.bind.empty())
    if (const auto bind = net::parse_address(config.bind, net::AddressUse::bind); !bind.ok())
      problems.add_key("bind", bind.status().message());
  if (is_anywhere(config.advertise))
    problems.add_key("advertise", config.advertise + " is no address that others can connect to");
  if (config.advertise.empty() && is_anywhere(config.bind))
    problems.add_key("advertise", "is needed, because nobody can connect to the `bind` address " +
                                      config.bind + "; port 0 in it stands for the port that `bind` gets");
  check_emulate_keys(config.emulate, config.nickname, problems);
  if (Status status = problems.status(); !status.ok()) return status;

  config.key_file = beside(path, config.key_file);
  config.data_dir = beside(path, config.data_dir);
  config.log.file = scheduler::OptionTable::has(json.value(), "log.file") ? beside(path, config.log.file)
                                                                          : config.data_dir + "/daemon.log";
  if (config.threads == 0) config.threads = std::max(1u, std::thread::hardware_concurrency());
  return config;
}

}  // namespace sidestep::driver

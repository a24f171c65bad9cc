#include "daemon/driver/scheduler_config.h"

#include <set>

#include "daemon/driver/advertise.h"
#include "daemon/driver/node_config.h"
#include "net/address.h"

namespace sidestep::driver {
namespace {

void check_keys(const char* name, const std::vector<std::string>& keys, std::set<std::string>& seen,
                scheduler::Problems& problems) {
  for (const std::string& text : keys) {
    if (const auto key = net::NodeKey::from_hex(text); !key.ok())
      problems.add_key(name, key.status().message());
    else if (!seen.insert(text).second)
      problems.add_key(name, "key " + text + " is listed twice; nodes and operators need keys of their own");
  }
}

}  // namespace

scheduler::OptionTable scheduler_config_table(SchedulerConfig& config) {
  scheduler::OptionTable table;
  table.add("bind", config.bind,
            "address and port on which nodes and operators reach it; port 0: any free one");
  table
      .add("advertise", config.advertise,
           "the same as other machines see it, for invites; port 0: the one that `bind` got")
      .default_text("`bind`, unless that is 0.0.0.0");
  table.add("key_file", config.key_file, "the scheduler's key, made by `sidestep keygen`").required();
  table.add("data_dir", config.data_dir, "folder for its database and logs").required();
  table.add("nodes", config.nodes, "public keys of daemons that may join, besides those let in at run time");
  table.add("operators", config.operators, "public keys that may submit, cancel and ask").required();
  table
      .add("heartbeat_ms", config.heartbeat_ms,
           "how often nodes give a sign of life; with many nodes every half millisecond a node, where that "
           "is longer")
      .range(20, 10'000);
  table.add("closed_dead_ms", config.closed_dead_ms, "a node whose connection was closed is lost after this")
      .range(0, 60'000);
  table.add("silent_dead_ms", config.silent_dead_ms, "a node that is silent is lost after this")
      .range(200, 600'000);
  table.add("prepare_limit_ms", config.prepare_limit_ms, "how long nodes may take to get ready for a job")
      .range(1'000, 3'600'000);
  table
      .add("planning.work", config.planning_work,
           "tasks simulated in the search for a plan, more of them for hundreds of nodes; a second has some "
           "tens of millions. The same work makes the same plan")
      .range(1'000, 1'000'000'000'000);
  table.add("planning.threads", config.planning_threads, "threads of that search; 0: all cores but one")
      .range(0, 1'024);
  table
      .add("job_log_bytes_max", config.job_log_bytes_max,
           "what the nodes' log lines may take; older ones go first")
      .range(1 << 20, 1LL << 44);
  table.add("job_log_days_max", config.job_log_days_max, "how long the nodes' log lines are kept")
      .range(1, 3'650);
  add_log_options(table, config.log);
  return table;
}

Result<SchedulerConfig> load_scheduler_config(const std::string& path) {
  const auto json = scheduler::load_json_file(path);
  if (!json.ok()) return json.status();
  SchedulerConfig config;
  scheduler::Problems problems(path);
  scheduler_config_table(config).read(json.value(), problems);
  std::set<std::string> seen;
  if (is_anywhere(config.advertise))
    problems.add_key("advertise", config.advertise + " is no address that others can connect to");
  else if (!config.advertise.empty())
    if (const auto address = net::parse_address(config.advertise, net::AddressUse::bind); !address.ok())
      problems.add_key("advertise", address.status().message());
  check_keys("nodes", config.nodes, seen, problems);
  check_keys("operators", config.operators, seen, problems);
  if (config.silent_dead_ms < 5 * config.heartbeat_ms)
    problems.add_key("silent_dead_ms", "value " + std::to_string(config.silent_dead_ms) +
                                           " is too small, at least 5 times heartbeat_ms (" +
                                           std::to_string(config.heartbeat_ms) + ") is needed");
  if (Status status = problems.status(); !status.ok()) return status;
  config.key_file = beside(path, config.key_file);
  config.data_dir = beside(path, config.data_dir);
  config.log.file = scheduler::OptionTable::has(json.value(), "log.file")
                        ? beside(path, config.log.file)
                        : config.data_dir + "/scheduler.log";
  return config;
}

}  // namespace sidestep::driver

// sidestep scheduler, daemon, keygen: what runs on the machines of a swarm.
#include <cstdio>
#include <filesystem>
#include <memory>

#include "daemon/cli/commands.h"
#include "daemon/cli/flags.h"
#include "daemon/driver/node_driver.h"
#include "daemon/driver/scheduler_driver.h"
#include "net/keys.h"

namespace sidestep::cli {
namespace {

int run_scheduler_from(const std::string& path) {
  const auto config = driver::load_scheduler_config(path);
  if (!config.ok()) return fail(config.status());
  const auto key = net::read_key_file(config.value().key_file);
  if (!key.ok()) return fail(key.status());
  const Status status = driver::run_scheduler(config.value(), key.value());
  return status.ok() ? exit_ok : fail(status);
}

int run_daemon_from(const std::string& path, const driver::TaskThreadFactory& task_thread) {
  const auto config = driver::load_node_config(path, driver::invite_from_environment());
  if (!config.ok()) return fail(config.status());
  const auto key = driver::own_key(config.value().key_file, config.value().scheduler);
  if (!key.ok()) return fail(key.status());
  const Status status = driver::run_node(config.value(), key.value(), task_thread);
  if (status.ok()) return exit_ok;
  fail(status);
  return exit_failed;
}

struct KeygenFlags {
  std::string out;
  bool json = false;
};

int make_key(const KeygenFlags& flags) {
  std::error_code problem;
  std::filesystem::create_directories(flags.out, problem);
  if (problem) return fail(Status::io(flags.out + ": cannot be made: " + problem.message()));
  const std::string file = (std::filesystem::path(flags.out) / "node.key").string();
  const net::KeyPair key = net::generate_key_pair();
  if (const Status status = net::write_key_file(file, key); !status.ok()) return fail(status);
  if (flags.json)
    std::printf("%s\n", nlohmann::json{{"public_key", key.public_key.hex()}, {"file", file}}.dump().c_str());
  else
    std::printf("%s\n", key.public_key.hex().c_str());
  return exit_ok;
}

}  // namespace

void add_scheduler(CLI::App& app, Chosen& chosen) {
  auto config = std::make_shared<std::string>();
  CLI::App* command =
      add_command(app, "scheduler", "Run the path scheduler: who is alive, which job runs, and where.",
                  "sidestep scheduler --config configs/scheduler.json");
  command->add_option("--config", *config, "Scheduler config file")
      ->required()
      ->envname("SIDESTEP_SCHEDULER_CONFIG")
      ->type_name("FILE");
  command->callback([config, &chosen] { chosen = [config] { return run_scheduler_from(*config); }; });
}

void add_daemon(CLI::App& app, Chosen& chosen, const Wiring& wiring) {
  auto config = std::make_shared<std::string>();
  CLI::App* command = add_command(app, "daemon", "Run one node: it holds pipeline stages and computes.",
                                  "sidestep daemon --config configs/node.json");
  command->add_option("--config", *config, "Node config file")
      ->required()
      ->envname("SIDESTEP_NODE_CONFIG")
      ->type_name("FILE");
  const auto task_thread = wiring.task_thread;
  command->callback([config, task_thread, &chosen] {
    chosen = [config, task_thread] { return run_daemon_from(*config, task_thread); };
  });
}

void add_keygen(CLI::App& app, Chosen& chosen) {
  auto flags = std::make_shared<KeygenFlags>();
  CLI::App* command =
      add_command(app, "keygen",
                  "Make a key for a node, a scheduler or an operator: DIR/node.key; prints the public "
                  "half, which goes into the scheduler's config.",
                  "sidestep keygen --out keys/node-1");
  command->add_option("--out", flags->out, "Folder for node.key")->required()->type_name("DIR");
  command->add_flag("--json", flags->json, "Report as JSON");
  command->callback([flags, &chosen] { chosen = [flags] { return make_key(*flags); }; });
}

}  // namespace sidestep::cli

#include "daemon/cli/operator_config.h"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <thread>

#include "daemon/driver/node_config.h"
#include "net/keys.h"

namespace sidestep::cli {
namespace {

std::atomic<bool> interrupt_seen{false};

}  // namespace

scheduler::OptionTable operator_config_table(OperatorConfig& config) {
  scheduler::OptionTable table;
  table.add("scheduler.address", config.scheduler_address, "host:port of the scheduler").required();
  table
      .add("scheduler.public_key", config.scheduler_public_key,
           "the scheduler's public key, 64 hexadecimal digits")
      .required();
  table.add("key_file", config.key_file, "the operator's key, made by `sidestep keygen`").required();
  return table;
}

Result<OperatorConfig> load_operator_config(const std::string& path) {
  if (!std::filesystem::exists(path))
    return Status::not_found(path +
                             ": no such operator config; name one by --config or $SIDESTEP_CONFIG "
                             "(`sidestep up` writes DIR/operator.json)");
  const auto json = scheduler::load_json_file(path);
  if (!json.ok()) return json.status();
  OperatorConfig config;
  scheduler::Problems problems(path);
  operator_config_table(config).read(json.value(), problems);
  if (!config.scheduler_public_key.empty())
    if (const auto key = net::NodeKey::from_hex(config.scheduler_public_key); !key.ok())
      problems.add_key("scheduler.public_key", key.status().message());
  if (Status status = problems.status(); !status.ok()) return status;
  config.key_file = driver::beside(path, config.key_file);
  return config;
}

Result<std::unique_ptr<driver::Client>> connect(const OperatorFlags& flags) {
  const auto config = load_operator_config(flags.config);
  if (!config.ok()) return config.status();
  const auto key = net::read_key_file(config.value().key_file);
  if (!key.ok()) return key.status();
  driver::ClientOptions options;
  options.address = config.value().scheduler_address;
  options.scheduler = net::NodeKey::from_hex(config.value().scheduler_public_key).value();
  options.key = key.value();
  options.interrupted = interrupted;
  return driver::Client::create(std::move(options));
}

// No handler: one could run on a thread in the middle of a matrix product, and oneDNN's kernels keep the
// stack pointer in their own workspace there. A thread waits for the signals instead; all others, and those
// that they start, leave them alone.
void catch_interrupts() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread([signals] {
    int signal = 0;
    sigwait(&signals, &signal);
    interrupt_seen = true;
    sigwait(&signals, &signal);
    _exit(128 + signal);  // asked twice: at once
  }).detach();
}

bool interrupted() { return interrupt_seen; }

}  // namespace sidestep::cli

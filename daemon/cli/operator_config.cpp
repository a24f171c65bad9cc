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
  driver::add_scheduler_keys(table, config.scheduler);
  table
      .add("key_file", config.key_file,
           "the operator's key, made by `sidestep keygen`, or at the first use where there is an `invite`")
      .required();
  return table;
}

Result<OperatorConfig> load_operator_config(const std::string& path, const std::string& token) {
  if (!std::filesystem::exists(path))
    return Status::not_found(path +
                             ": no such operator config; name one by --config or $SIDESTEP_CONFIG "
                             "(`sidestep up` writes DIR/operator.json)");
  const auto json = scheduler::load_json_file(path);
  if (!json.ok()) return json.status();
  OperatorConfig config;
  scheduler::Problems problems(path);
  operator_config_table(config).read(json.value(), problems);
  driver::finish_scheduler_keys(config.scheduler, token, problems);
  if (Status status = problems.status(); !status.ok()) return status;
  config.key_file = driver::beside(path, config.key_file);
  return config;
}

Result<std::unique_ptr<driver::Client>> connect(const OperatorFlags& flags) {
  const auto config = load_operator_config(flags.config, driver::invite_from_environment());
  if (!config.ok()) return config.status();
  const driver::SchedulerBlock& scheduler = config.value().scheduler;
  const auto key = driver::own_key(config.value().key_file, scheduler);
  if (!key.ok()) return key.status();
  driver::ClientOptions options;
  options.address = scheduler.address;
  options.scheduler = net::NodeKey::from_hex(scheduler.public_key).value();
  options.key = key.value();
  options.invite = scheduler.invite;
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

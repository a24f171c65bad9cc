// sidestep up: a whole swarm on this machine, in the foreground until Ctrl-C.
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>

#include "daemon/cli/children.h"
#include "daemon/cli/commands.h"
#include "daemon/cli/emulate_file.h"
#include "daemon/cli/flags.h"
#include "daemon/cli/operator_config.h"
#include "daemon/cli/swarm.h"
#include "daemon/driver/scheduler_driver.h"
#include "net/clock.h"

namespace sidestep::cli {
namespace {

constexpr std::int64_t poll_us = 50 * net::ms;
constexpr std::int64_t start_limit_us = 30 * net::second;
constexpr std::int64_t stop_limit_us = 8 * net::second;
constexpr std::int64_t kill_limit_us = 2 * net::second;

bool signal_pending() {
  sigset_t pending;
  sigpending(&pending);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD})
    if (sigismember(&pending, signal) == 1) return true;
  return false;
}

// What a process said last, before it ended.
std::string last_line(const std::string& path) {
  std::ifstream file(path);
  std::string last;
  for (std::string line; std::getline(file, line);)
    if (!line.empty()) last = line;
  return last;
}

// The scheduler and the daemons as processes. One thread: the one that made it.
class LocalSwarm {
 public:
  LocalSwarm(SwarmFolder folder, const SwarmOptions& options)
      : folder_(std::move(folder)), options_(options) {}
  ~LocalSwarm() { stop(); }

  // Returns when all nodes are in the scheduler's view. Errors: a process that ended, no answer in time,
  // or `refused` with an empty text when a signal asked to stop.
  Status start() {
    if (Status status = start_scheduler(); !status.ok()) return status;
    if (Status status = folder_.write_node_configs(address_); !status.ok()) return status;
    if (Status status = folder_.write_operator_config(address_); !status.ok()) return status;
    for (std::size_t i = 0; i < folder_.node_count(); ++i)
      if (Status status = start_one(folder_.nickname(i), {"daemon", "--config", folder_.node_config(i)});
          !status.ok())
        return status;
    return await_nodes();
  }

  // Until a signal asks to stop (0) or no daemon is left (1).
  int watch() {
    while (true) {
      if (stop_asked(poll_us * 20)) return exit_ok;
      report_deaths();
      if (children_.empty() || (children_.size() == 1 && children_.begin()->second == "scheduler")) {
        std::fprintf(stderr, "no daemon is left\n");
        return exit_failed;
      }
    }
  }

  // Daemons first, so that the scheduler hears them go; whoever does not end in time is killed.
  void stop() {
    std::remove(folder_.ready_file().c_str());
    const std::int64_t limit = net::monotonic_us() + stop_limit_us;
    // Not SIGTERM: nobody is left to hand over to.
    signal_all(SIGINT, [](const std::string& name) { return name != "scheduler"; });
    await_end(limit, 1);
    signal_all(SIGTERM, [](const std::string&) { return true; });
    await_end(limit, 0);
    for (const auto& [pid, name] : children_)
      std::fprintf(stderr, "%s (pid %d) did not stop in time, killed\n", name.c_str(), pid);
    signal_all(SIGKILL, [](const std::string&) { return true; });
    await_end(net::monotonic_us() + kill_limit_us, 0);
  }

  nlohmann::json description() const {
    nlohmann::json nodes = nlohmann::json::array();
    nlohmann::json scheduler = {{"address", address_}};
    for (const auto& [pid, name] : children_) {
      if (name == "scheduler") scheduler["pid"] = pid;
      for (std::size_t i = 0; i < folder_.node_count(); ++i)
        if (folder_.nickname(i) == name)
          nodes.push_back({{"nickname", name}, {"pid", pid}, {"key", folder_.node_key(i).hex()}});
    }
    return {{"scheduler", scheduler}, {"nodes", nodes}, {"operator_config", operator_config()}};
  }

  Status announce(bool json) const {
    const nlohmann::json about = description();
    if (Status status = write_file(folder_.ready_file(), about.dump(2) + "\n"); !status.ok()) return status;
    const std::string text = "ready: " + std::to_string(folder_.node_count()) + " nodes, scheduler at " +
                             address_ + "; operator config " + operator_config();
    std::printf("%s\n", json ? about.dump().c_str() : text.c_str());
    std::fflush(stdout);
    return {};
  }

 private:
  std::string operator_config() const { return options_.dir + "/operator.json"; }

  Status start_one(const std::string& name, const std::vector<std::string>& arguments) {
    const auto pid = start_child(arguments, folder_.output_file(name));
    if (!pid.ok()) return pid.status();
    children_[pid.value()] = name;
    return {};
  }

  Status start_scheduler() {
    const std::string endpoint = folder_.scheduler_data() + "/" + driver::endpoint_file;
    std::remove(endpoint.c_str());
    if (Status status = folder_.write_scheduler_config(folder_.scheduler_bind()); !status.ok()) return status;
    if (Status status = start_one("scheduler", {"scheduler", "--config", folder_.scheduler_config()});
        !status.ok())
      return status;
    const std::int64_t limit = net::monotonic_us() + start_limit_us;
    while (!std::getline(std::ifstream(endpoint), address_)) {
      if (Status status = still_starting(limit, "the scheduler does not listen"); !status.ok()) return status;
    }
    // With its port, so that it can be started again by hand.
    return folder_.write_scheduler_config(address_);
  }

  Status await_nodes() {
    const auto config = load_operator_config(folder_.operator_config());
    if (!config.ok()) return config.status();
    const auto key = net::read_key_file(config.value().key_file);
    if (!key.ok()) return key.status();
    auto client = driver::Client::create({address_,
                                          net::NodeKey::from_hex(config.value().scheduler.public_key).value(),
                                          key.value(),
                                          {},
                                          signal_pending});
    if (!client.ok()) return client.status();
    const std::int64_t limit = net::monotonic_us() + start_limit_us;
    std::size_t alive = 0;
    while (true) {
      const auto reply = client.value()->ask("nodes", nlohmann::json::object(), net::second);
      if (!reply.ok() && reply.status().code() == Code::refused) return reply.status();
      if (reply.ok()) {
        alive = 0;
        for (const auto& node : reply.value().at("nodes")) alive += node.at("state") == "alive" ? 1 : 0;
        if (alive >= folder_.node_count()) return {};
      }
      const std::string missing =
          "only " + std::to_string(alive) + " of " + std::to_string(folder_.node_count()) + " nodes are up";
      if (Status status = still_starting(limit, missing); !status.ok()) return status;
    }
  }

  // Waits a moment; an error when something has ended, a signal came, or the time is over.
  Status still_starting(std::int64_t limit_us, const std::string& missing) {
    if (stop_asked(poll_us)) return Status::refused("");
    if (report_deaths() > 0) return Status::internal("a process ended while the swarm was starting");
    if (net::monotonic_us() > limit_us)
      return Status::unavailable(missing + " after " + std::to_string(start_limit_us / net::second) + " s");
    return {};
  }

  bool stop_asked(std::int64_t wait_us) {
    const auto signal = signals_.wait(wait_us);
    return signal && *signal != SIGCHLD;
  }

  std::size_t report_deaths() {
    std::size_t deaths = 0;
    while (const auto ended = reap_child()) {
      const auto child = children_.find(ended->pid);
      if (child == children_.end()) continue;
      const std::string& name = child->second;
      std::fprintf(stderr, "%s (pid %d) %s; its log is %s\n", name.c_str(), ended->pid, ended->text().c_str(),
                   folder_.log_file(name).c_str());
      if (const std::string word = last_line(folder_.output_file(name)); !word.empty())
        std::fprintf(stderr, "  %s\n", word.c_str());
      if (name == "scheduler")
        std::fprintf(stderr, "start the scheduler again: sidestep scheduler --config %s\n",
                     folder_.scheduler_config().c_str());
      children_.erase(child);
      ++deaths;
    }
    return deaths;
  }

  void signal_all(int signal, const std::function<bool(const std::string&)>& chosen) {
    for (const auto& [pid, name] : children_)
      if (chosen(name)) kill(pid, signal);
  }

  // Until at most `left` children live, the time is over, or the user asks a second time.
  void await_end(std::int64_t limit_us, std::size_t left) {
    while (true) {
      while (const auto ended = reap_child()) children_.erase(ended->pid);
      if (children_.size() <= left || net::monotonic_us() > limit_us) return;
      if (stop_asked(poll_us)) return;
    }
  }

  SignalWait signals_;
  SwarmFolder folder_;
  SwarmOptions options_;
  std::map<pid_t, std::string> children_;  // what runs, by pid
  std::string address_;                    // of the scheduler
};

struct UpFlags : SwarmOptions {
  std::string emulate_file;
  double emulate_scale = 1;
  bool json = false;
};

Status read_emulation(UpFlags& flags) {
  if (flags.emulate_file.empty()) return {};
  EmulateRequest request{flags.emulate_file, flags.emulate_scale, {}};
  for (std::int64_t i = 0; i < flags.nodes; ++i)
    request.nicknames.push_back(SwarmFolder::nickname(static_cast<std::size_t>(i)));
  auto blocks = load_emulation(request);
  if (!blocks.ok()) return blocks.status();
  flags.emulate = std::move(blocks).value();
  return {};
}

int up(UpFlags flags) {
  // The daemons share this machine's cores: an OpenMP thread that spins while it waits takes them from
  // another.
  setenv("OMP_WAIT_POLICY", "passive", /*overwrite=*/0);
  unsetenv("SIDESTEP_INVITE");  // meant for another swarm: these daemons have keys of their own
  if (const Status status = read_emulation(flags); !status.ok()) return fail(status);
  auto folder = SwarmFolder::prepare(flags);
  if (!folder.ok()) return fail(folder.status());
  LocalSwarm swarm(std::move(folder).value(), flags);
  if (const Status status = swarm.start(); !status.ok()) {
    if (status.message().empty()) return exit_ok;
    fail(status);
    return exit_failed;
  }
  if (const Status status = swarm.announce(flags.json); !status.ok()) return fail(status);
  const int result = swarm.watch();
  if (!flags.json) std::printf("stopping\n");
  return result;
}

}  // namespace

void add_up(CLI::App& app, Chosen& chosen) {
  auto flags = std::make_shared<UpFlags>();
  CLI::App* command = add_command(
      app, "up", "Run a whole swarm on this machine: a scheduler and daemons as processes, until Ctrl-C.",
      "sidestep up --nodes 6 --dir run/swarm");
  command->add_option("--nodes", flags->nodes, "How many daemons")
      ->check(whole_number(1, 1024))
      ->capture_default_str();
  command
      ->add_option("--dir", flags->dir,
                   "Folder for keys, configs, logs and data; used again when it is there")
      ->capture_default_str()
      ->type_name("DIR");
  command
      ->add_option("--threads", flags->threads,
                   "Compute threads of each daemon; default: the cores, shared out")
      ->check(whole_number(1, 4096));
  command->add_option("--device", flags->device, "What every daemon computes on: cpu, or cuda:0 and on")
      ->check(device_name())
      ->capture_default_str();
  command
      ->add_option("--port-base", flags->port_base,
                   "The scheduler's port; daemons take those after it; default: any free ports")
      ->check(whole_number(1024, 64000));
  CLI::Option* emulate =
      command
          ->add_option("--emulate", flags->emulate_file,
                       "Links and task times of machines far apart: a table such as configs/emulate.json, or "
                       "an instance of `sidestep plan`")
          ->type_name("FILE");
  command->add_option("--emulate-scale", flags->emulate_scale, "Factor on all times of --emulate's file")
      ->check(number(0.001, 1))
      ->needs(emulate)
      ->capture_default_str();
  command->add_flag("--json", flags->json, "Report as JSON when ready");
  command->callback([flags, &chosen] { chosen = [flags] { return up(*flags); }; });
}

}  // namespace sidestep::cli

#include "tests/process/faults.h"

#include <signal.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>

namespace sidestep::testing {
namespace {

// Of a node's silence until it is declared dead.
constexpr Seconds silence_limit(5);

// Nothing for so long, while the fault lasts.
void let_pass(const Machines& machines, Seconds duration) {
  const auto end = std::chrono::steady_clock::now() + duration;
  while (std::chrono::steady_clock::now() < end) machines.ask({"nodes"});
}

}  // namespace

const std::vector<std::pair<Fault, std::string>>& all_faults() {
  static const std::vector<std::pair<Fault, std::string>> faults{
      {Fault::kill, "killed"},
      {Fault::restart, "killed and started again"},
      {Fault::pause_half, "stopped for half the limit"},
      {Fault::pause_twice, "stopped for twice the limit"},
      {Fault::drain, "asked to end by SIGTERM"},
      {Fault::cut, "cut off for twice the limit"},
      {Fault::scheduler, "left without a scheduler, which starts again"}};
  return faults;
}

bool is_chosen(std::size_t number) {
  const char* chosen = std::getenv("SIDESTEP_CHURN");
  if (chosen != nullptr && std::string(chosen) == "all") return true;
  return number % 10 == (chosen == nullptr ? 0 : std::strtoul(chosen, nullptr, 10) % 10);
}

nlohmann::json node_json(const Machines& machines, int node) {
  const nlohmann::json reply = machines.ask_json({"nodes"});
  for (const auto& entry : reply.at("nodes"))
    if (entry.at("nickname") == "node-" + std::to_string(node)) return entry;
  return nullptr;
}

void wait_for_activity(const Machines& machines, int node, const std::string& activity, Seconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  for (;;) {
    const nlohmann::json seen = node_json(machines, node);
    if (!seen.is_null() && seen.at("activity").get<std::string>().find(activity) != std::string::npos) return;
    INFO(seen.dump());
    REQUIRE(std::chrono::steady_clock::now() < end);
  }
}

void strike(Machines& machines, Fault fault, int node) {
  Process& process = machines.node(node);
  switch (fault) {
    case Fault::kill:
      return process.signal(SIGKILL);
    case Fault::restart:
      process.signal(SIGKILL);
      REQUIRE(process.wait_exit(Seconds(10)) == -SIGKILL);
      return machines.start_node(node);
    case Fault::pause_half:
    case Fault::pause_twice:
      process.signal(SIGSTOP);
      let_pass(machines, fault == Fault::pause_half ? silence_limit / 2 : 2 * silence_limit);
      return process.signal(SIGCONT);
    case Fault::drain:
      process.signal(SIGTERM);
      CHECK(process.wait_exit(Seconds(30)) == 0);
      return;
    case Fault::cut:
      machines.pull_cable(node);
      let_pass(machines, 2 * silence_limit);
      return machines.plug_cable(node);
    case Fault::scheduler:
      machines.scheduler().signal(SIGKILL);
      REQUIRE(machines.scheduler().wait_exit(Seconds(10)) == -SIGKILL);
      return machines.start_scheduler();
  }
}

std::string require_end_and_replay(const Machines& machines, Process& submit, const std::string& job,
                                   int steps, Seconds limit) {
  const auto status = submit.wait_exit(limit);
  INFO(submit.output() << submit.error() << machines.logs());
  REQUIRE(status == 0);
  const std::string record = machines.folder() / (job + ".record");
  REQUIRE(machines.ask({"record", job, "--out", record}).status == 0);
  const nlohmann::json report = replay_of(record);
  CHECK(report.at("steps") == steps);
  CHECK(report.at("largest_difference") <= 1e-5);
  return read_text(record);
}

}  // namespace sidestep::testing

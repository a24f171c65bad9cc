// What may happen to a node or the scheduler, at each moment of a step: processes that are really killed,
// stopped and cut off. Whatever it is, the job reaches its last step, and a replay of its record has the same
// losses.
//
// SIDESTEP_CHURN: "all", or a number, which picks a tenth of the cases; 0 where it is not set.
#include <signal.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>

#include "tests/process/machines.h"
#include "tests/skip.h"

namespace sidestep::testing {
namespace {

constexpr int steps = 8;
// Of a node's silence until it is declared dead.
constexpr Seconds silence_limit(5);

enum class Fault { kill, restart, pause_half, pause_twice, drain, cut, scheduler };

const std::vector<std::pair<Fault, std::string>> faults{
    {Fault::kill, "killed"},
    {Fault::restart, "killed and started again"},
    {Fault::pause_half, "stopped for half the limit"},
    {Fault::pause_twice, "stopped for twice the limit"},
    {Fault::drain, "asked to end by SIGTERM"},
    {Fault::cut, "cut off for twice the limit"},
    {Fault::scheduler, "left without a scheduler, which starts again"}};

// What a node says that it does, in each phase of a step.
const std::vector<std::pair<std::string, std::string>> phases{{"forward", "forward of"},
                                                              {"head", "head of"},
                                                              {"backward", "backward of"},
                                                              {"averaging", "averages stage"},
                                                              {"commit", "Commit"}};

bool is_chosen(std::size_t number) {
  const char* chosen = std::getenv("SIDESTEP_CHURN");
  if (chosen != nullptr && std::string(chosen) == "all") return true;
  return number % 10 == (chosen == nullptr ? 0 : std::strtoul(chosen, nullptr, 10) % 10);
}

// Asking takes its time each time; the pause is the process that asks.
nlohmann::json node_json(const Machines& machines, int node) {
  const nlohmann::json reply = machines.ask_json({"nodes"});
  for (const auto& entry : reply.at("nodes"))
    if (entry.at("nickname") == "node-" + std::to_string(node)) return entry;
  return nullptr;
}

// Until the node says that it does this.
void wait_for_activity(const Machines& machines, int node, const std::string& activity, Seconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  for (;;) {
    const nlohmann::json seen = node_json(machines, node);
    if (!seen.is_null() && seen.at("activity").get<std::string>().find(activity) != std::string::npos) return;
    INFO(seen.dump());
    REQUIRE(std::chrono::steady_clock::now() < end);
  }
}

// Nothing for so long, while the fault lasts.
void let_pass(const Machines& machines, Seconds duration) {
  const auto end = std::chrono::steady_clock::now() + duration;
  while (std::chrono::steady_clock::now() < end) machines.ask({"nodes"});
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

void run_case(std::size_t number, Fault fault, const std::string& fault_text, const std::string& phase,
              const std::string& activity) {
  // Slow enough that a phase can be seen from outside.
  Machines machines(static_cast<int>(number), 4,
                    {{"forward_s", 0.25}, {"backward_s", 0.25}, {"head_s", 0.25}}, 0.25);
  REQUIRE(machines.made());
  machines.start();
  auto job = small_job(machines.folder(), "churn", 2, steps);
  job["validation"]["every"] = 0;
  const auto submit = machines.submit(job);
  const bool began = submit->wait_for("step 1/", Seconds(60));
  INFO(submit->output() << submit->error() << machines.logs());
  REQUIRE(began);
  const auto stages = machines.ask_json({"status"}).at("job").at("stages");
  REQUIRE(stages.at(0).size() == 2);
  REQUIRE(stages.at(1).size() == 2);
  // The lead origin, the other origin and the others take turns; a head runs at an origin only.
  const auto stage = phase == "head" ? 0u : number % 2;
  const int node = machines.node_of(stages.at(stage).at(number / 2 % 2));
  const std::string what = "node-" + std::to_string(node) + " is " + fault_text + " at " + phase;
  INFO(what);
  wait_for_activity(machines, node, activity, Seconds(20));
  strike(machines, fault, node);
  const auto status = submit->wait_exit(Seconds(150));
  INFO(submit->output() << submit->error() << machines.logs());
  REQUIRE(status == 0);
  const std::string record = machines.folder() / "churn.record";
  REQUIRE(machines.ask({"record", "churn-1", "--out", record}).status == 0);
  const Finished replay = run({"solo", "--replay", record, "--json"}, Seconds(120));
  INFO(replay.output << replay.error);
  REQUIRE(replay.status == 0);
  const std::string last = replay.output.substr(replay.output.rfind('\n', replay.output.size() - 2) + 1);
  const auto report = nlohmann::json::parse(last);
  CHECK(report.at("steps") == steps);
  CHECK(report.at("largest_difference") <= 1e-5);
}

}  // namespace

TEST_CASE("Churn: whatever happens to a node, the job reaches its last step and its record replays") {
  if (!Machines(99, 1).made()) SIDESTEP_SKIP("network namespaces cannot be made here");
  std::size_t number = 0;
  for (const auto& [fault, fault_text] : faults)
    for (const auto& [phase, activity] : phases)
      if (is_chosen(number++)) run_case(number, fault, fault_text, phase, activity);
}

}  // namespace sidestep::testing

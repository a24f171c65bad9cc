// The only host of a stage is lost at each moment of a step, and who rebuilds it, or what it rebuilds from,
// while it does: processes on machines of their own, really killed, stopped and cut off. The job reaches its
// last step, the stage is rebuilt, and a replay of the record has the same losses.
#include <catch2/catch.hpp>
#include <chrono>
#include <sstream>

#include "tests/process/faults.h"
#include "tests/skip.h"

namespace sidestep::testing {
namespace {

constexpr int steps = 16;

struct Running {
  Machines& machines;
  std::unique_ptr<Process> submit;

  // Of the nodes that hold the stage, as the scheduler says it.
  std::vector<std::string> holders(std::size_t stage) const {
    return machines.ask_json({"status"}).at("job").at("stages").at(stage);
  }
};

// Three stages on so many machines, slow enough that a phase can be seen from outside.
Running begin(Machines& machines, const nlohmann::json& recovery = nlohmann::json::object()) {
  machines.start();
  auto job = small_job(machines.folder(), "lost", 3, steps);
  job["validation"]["every"] = 0;
  job["recovery"] = {{"policy", "checkfree"}};
  job["recovery"].update(recovery);
  Running running{machines, machines.submit(job)};
  const bool began = running.submit->wait_for("step 1/", Seconds(60));
  INFO(running.submit->output() << running.submit->error() << machines.logs());
  REQUIRE(began);
  return running;
}

const nlohmann::json task_times = {{"forward_s", 0.1}, {"backward_s", 0.1}, {"head_s", 0.1}};
constexpr double latency_s = 0.1;

std::string require_rebuilt(const Running& running) {
  std::string record =
      require_end_and_replay(running.machines, *running.submit, "lost-1", steps, Seconds(150));
  CHECK(record.find("\"recoveries\"") != std::string::npos);
  return record;
}

void lose_host(std::size_t number, Fault fault, const std::string& fault_text, const std::string& activity) {
  Machines machines(static_cast<int>(number), 3, task_times, latency_s);
  REQUIRE(machines.made());
  const Running running = begin(machines);
  // Stage 0 has a second holder, which may be this one.
  const std::size_t stage = 1 + number % 2;
  const std::vector<std::string> holders = running.holders(stage);
  REQUIRE(holders.size() == 1);
  const int node = machines.node_of(holders[0]);
  INFO("node-" << node << ", alone with stage " << stage << ", is " << fault_text << " at " << activity);
  wait_for_activity(machines, node, activity, Seconds(20));
  strike(machines, fault, node);
  require_rebuilt(running);
}

// Whichever node says that it rebuilds stage 1, or waits for what it is to be rebuilt from.
int wait_for_rebuild(const Machines& machines, Seconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  for (;;) {
    const nlohmann::json reply = machines.ask_json({"nodes"});
    for (const auto& entry : reply.at("nodes")) {
      const auto activity = entry.at("activity").get<std::string>();
      if (activity.find("rebuilds stage 1") != std::string::npos ||
          activity.find("stage 1 is rebuilt") != std::string::npos)
        return machines.node_of(entry.at("key"));
    }
    INFO(reply.dump());
    REQUIRE(std::chrono::steady_clock::now() < end);
  }
}

// Stage 1 is lost, and while another node rebuilds it that one, or the only host of stage 2, is lost too.
void lose_two(std::size_t number, Fault fault, const std::string& fault_text, bool host) {
  Machines machines(static_cast<int>(number), 4, task_times, latency_s);
  REQUIRE(machines.made());
  const Running running = begin(machines);
  for (const std::string& key : running.holders(1)) strike(machines, Fault::kill, machines.node_of(key));
  const int rebuilds = wait_for_rebuild(machines, Seconds(40));
  int victim = rebuilds;
  if (!host)
    for (const std::string& key : running.holders(2)) victim = machines.node_of(key);
  INFO("node-" << victim << (host ? ", which rebuilds," : ", a source,") << " is " << fault_text);
  strike(machines, fault, victim);
  require_rebuilt(running);
}

}  // namespace

TEST_CASE("Mirrors: a stage whose only host is killed is put back out of another machine's memory") {
  Machines machines(97, 3, task_times, latency_s);
  if (!machines.made()) SIDESTEP_SKIP("network namespaces cannot be made here");
  const Running running = begin(machines, {{"policy", "mirror"}, {"every", 3}});
  const bool mirrored = running.submit->wait_for("step 6/", Seconds(60));
  INFO(running.submit->output() << machines.logs());
  REQUIRE(mirrored);
  const std::vector<std::string> holders = running.holders(1);
  REQUIRE(holders.size() == 1);
  strike(machines, Fault::kill, machines.node_of(holders[0]));
  std::istringstream record(require_rebuilt(running));
  std::size_t found = 0;
  for (std::string line; std::getline(record, line);)
    for (const auto& recovery : nlohmann::json::parse(line).value("recoveries", nlohmann::json::array())) {
      ++found;
      CHECK(recovery.at("stage") == 1);
      CHECK(recovery.at("commit").get<std::uint64_t>() % 3 == 0);
      CHECK(recovery.at("sources").size() == 1);
      CHECK(recovery.at("sources")[0].at("stage") == 1);
    }
  CHECK(found == 1);
}

TEST_CASE("Churn: the only host of a stage is lost, at each moment of a step, and the stage is rebuilt") {
  if (!Machines(98, 1).made()) SIDESTEP_SKIP("network namespaces cannot be made here");
  std::size_t number = 0;
  for (const auto& [fault, fault_text] : all_faults()) {
    // Of the others no stage is lost.
    if (fault == Fault::pause_half || fault == Fault::drain || fault == Fault::scheduler) continue;
    for (const std::string activity : {"forward of", "backward of", "Commit"})
      if (is_chosen(number++)) lose_host(number, fault, fault_text, activity);
    if (fault == Fault::restart) continue;
    for (const bool host : {true, false})
      if (is_chosen(number++)) lose_two(number, fault, fault_text, host);
  }
}

}  // namespace sidestep::testing

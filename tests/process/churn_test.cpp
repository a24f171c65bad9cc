// What may happen to a node or the scheduler, at each moment of a step: processes that are really killed,
// stopped and cut off. Whatever it is, the job reaches its last step, and a replay of its record has the same
// losses.
#include <catch2/catch.hpp>

#include "tests/process/faults.h"
#include "tests/skip.h"

namespace sidestep::testing {
namespace {

constexpr int steps = 8;

// What a node says that it does, in each phase of a step.
const std::vector<std::pair<std::string, std::string>> phases{{"forward", "forward of"},
                                                              {"head", "head of"},
                                                              {"backward", "backward of"},
                                                              {"averaging", "averages stage"},
                                                              {"commit", "Commit"}};

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
  require_end_and_replay(machines, *submit, "churn-1", steps, Seconds(150));
}

}  // namespace

TEST_CASE("Churn: whatever happens to a node, the job reaches its last step and its record replays") {
  if (!Machines(99, 1).made()) SIDESTEP_SKIP("network namespaces cannot be made here");
  std::size_t number = 0;
  for (const auto& [fault, fault_text] : all_faults())
    for (const auto& [phase, activity] : phases)
      if (is_chosen(number++)) run_case(number, fault, fault_text, phase, activity);
}

}  // namespace sidestep::testing

// What a job takes of each machine's memory: as predicted before it starts.
#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <optional>

#include "tests/process/swarm_fixture.h"

namespace sidestep::testing {

TEST_CASE("Memory: what daemons use is within a tenth of what the plan says") {
  LocalSwarm swarm(3);
  auto job = small_job(swarm.folder(), "wide", 3, 4);
  job["model"].update({{"hidden_size", 256},
                       {"intermediate_size", 704},
                       {"num_attention_heads", 4},
                       {"num_key_value_heads", 4}});
  job["pipeline"].update({{"microbatches_per_step", 6}, {"microbatch_size", 8}, {"slots", 3}});
  job["data"]["sequence_length"] = 128;
  job["validation"]["every"] = 0;
  // One stage at each node: two that share their microbatches seldom fill all the slots of either.
  job["recovery"] = {{"policy", "checkfree"}, {"origins", 1}};
  const auto submit = swarm.submit(job);

  // By node; used is what it says after an update.
  std::map<std::string, std::pair<double, double>> used_and_planned;
  const auto ask = [&] {
    const auto answer = swarm.ask_json({"status"});
    for (const auto& node : answer.at("nodes")) {
      const double used = node.at("memory_used_bytes"), planned = node.at("memory_planned_bytes");
      if (used > 0 && planned > 0) used_and_planned[node.at("nickname")] = {used, planned};
    }
  };
  std::optional<int> status;
  for (int polls = 0; !status && polls < 1200; ++polls) {
    status = submit->wait_exit(Seconds(0.1));
    ask();
  }
  CHECK(status == 0);
  INFO(submit->output() << submit->error() << swarm.logs());
  REQUIRE(used_and_planned.size() == 3);
  double largest = 0;
  for (const auto& [nickname, memory] : used_and_planned) {
    const double ratio = memory.first / memory.second;
    INFO(nickname << " uses " << memory.first / 1e6 << " MB, planned " << memory.second / 1e6);
    CHECK(ratio < 1.1);
    largest = std::max(largest, ratio);
    // The last stage seldom fills its slots.
    CHECK(ratio > 0.75);
  }
  CHECK(largest > 0.9);
}

}  // namespace sidestep::testing

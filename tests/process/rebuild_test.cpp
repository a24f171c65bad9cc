// The only holder of a stage is really killed: routes go around it, its neighbours rebuild it, the job ends
// well.
#include <signal.h>

#include <catch2/catch.hpp>
#include <set>

#include "tests/process/swarm_fixture.h"

namespace sidestep::testing {
namespace {

constexpr int steps = 600;

}  // namespace

TEST_CASE("Rebuild: the only host of a stage is killed, and no step is lost") {
  const auto stage = GENERATE(std::size_t{1}, std::size_t{2});
  const bool by_operator = stage == 2;  // `sidestep kill` is as good as the signal
  LocalSwarm swarm(3);
  // Long enough that it is still under way when the loss has been seen.
  auto job = small_job(swarm.folder(), "rebuilt", 3, steps);
  job["validation"]["every"] = 100;
  job["recovery"] = {{"policy", "checkfree"}, {"origins", 1}};  // each node holds one stage
  const auto submit = swarm.submit(job);
  const bool began = submit->wait_for("step ", Seconds(60));
  INFO(submit->output() << submit->error() << swarm.logs());
  REQUIRE(began);
  if (by_operator) {
    const Finished killed = swarm.ask({"kill", "--stage", std::to_string(stage)});
    INFO(killed.output << killed.error);
    REQUIRE(killed.status == 0);
    CHECK(killed.output.find("is killed; it held stage " + std::to_string(stage)) != std::string::npos);
  } else {
    kill(swarm.node_pid(swarm.holder_of(stage)), SIGKILL);
  }
  const auto status = submit->wait_exit(Seconds(120));
  INFO(submit->output() << submit->error() << swarm.logs());
  REQUIRE(status == 0);
  const std::string record = swarm.record_file("rebuilt-1");
  CHECK(read_text(record).find("\"recoveries\"") != std::string::npos);
  const nlohmann::json report = replay_of(record);
  CHECK(report.at("steps") >= steps);
  CHECK(report.at("largest_difference") <= 1e-5);
  const Finished logs = swarm.ask({"logs", "rebuilt-1"});
  CHECK(logs.output.find("routes go around it until its neighbours have rebuilt it") != std::string::npos);
  CHECK(logs.output.find("is back since step") != std::string::npos);
}

TEST_CASE("Rebuild: the lead origin is killed, and the second holder of stage 0 goes on") {
  LocalSwarm swarm(3);
  auto job = small_job(swarm.folder(), "origin", 3, steps);
  job["validation"]["every"] = 100;
  const auto submit = swarm.submit(job);
  const bool began = submit->wait_for("step ", Seconds(60));
  INFO(submit->output() << submit->error() << swarm.logs());
  REQUIRE(began);
  const nlohmann::json stages = swarm.ask_json({"status"}).at("job").at("stages");
  REQUIRE(stages.at(0).size() == 2);
  const nlohmann::json nodes = swarm.ask_json({"nodes"}).at("nodes");
  for (const auto& node : nodes)
    if (node.at("key") == stages.at(0).at(0))
      REQUIRE(swarm.ask({"kill", "--node", node.at("nickname").get<std::string>()}).status == 0);
  const auto status = submit->wait_exit(Seconds(120));
  INFO(submit->output() << submit->error() << swarm.logs());
  REQUIRE(status == 0);
  CHECK(replay_of(swarm.record_file("origin-1")).at("largest_difference") <= 1e-5);
}

}  // namespace sidestep::testing

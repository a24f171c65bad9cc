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
  const std::string record = swarm.folder() / "rebuilt.record";
  REQUIRE(swarm.ask({"record", "rebuilt-1", "--out", record}).status == 0);
  const std::string text = read_text(record);
  CHECK(text.find("\"recoveries\"") != std::string::npos);
  const Finished replay = run({"solo", "--replay", record, "--json"}, Seconds(120));
  INFO(replay.output << replay.error);
  REQUIRE(replay.status == 0);
  const std::string last = replay.output.substr(replay.output.rfind('\n', replay.output.size() - 2) + 1);
  const auto report = nlohmann::json::parse(last);
  CHECK(report.at("steps") >= steps);
  CHECK(report.at("largest_difference") <= 1e-5);
  const Finished logs = swarm.ask({"logs", "rebuilt-1"});
  CHECK(logs.output.find("routes go around it until its neighbours have rebuilt it") != std::string::npos);
  CHECK(logs.output.find("is back since step") != std::string::npos);
}

}  // namespace sidestep::testing

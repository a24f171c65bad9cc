// Checkpoints of real processes: the job goes back to one when a stage's last holder, or everybody, is
// killed, and another job begins with one.
#include <signal.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <functional>
#include <vector>

#include "tests/process/swarm_fixture.h"

namespace sidestep::testing {
namespace {

constexpr int steps = 300;

nlohmann::json checkpointed_job(const LocalSwarm& swarm, const std::string& name) {
  auto job = small_job(swarm.folder(), name, 3, steps);
  job["validation"]["every"] = 100;
  job["recovery"] = {{"policy", "checkpoint"},
                     {"directory", swarm.folder() / "shared"},
                     {"checkpoint_every", 20},
                     {"origins", 1}};
  return job;
}

void require_soon(const LocalSwarm& swarm, const Process& submit,
                  const std::function<bool(const nlohmann::json&)>& is) {
  for (int polls = 0; polls < 1200; ++polls) {
    const auto status = swarm.ask_json({"status"});
    if (status.at("job").is_object() && is(status.at("job"))) return;
  }
  FAIL(submit.output() << submit.error() << swarm.logs());
}

bool has_checkpoint(const nlohmann::json& job) { return job.at("checkpoint").is_number(); }

void require_done(LocalSwarm& swarm, Process& submit, const std::string& id) {
  const auto status = submit.wait_exit(Seconds(120));
  INFO(submit.output() << submit.error() << swarm.logs());
  REQUIRE(status == 0);
  CHECK(replay_of(swarm.record_file(id)).at("largest_difference") <= 1e-5);
}

}  // namespace

TEST_CASE(
    "Checkpoint: all hosts of a stage are killed, the job goes back, and another one begins with its end") {
  LocalSwarm swarm(5);
  const auto submit = swarm.submit(checkpointed_job(swarm, "saved"));
  require_soon(swarm, *submit, has_checkpoint);
  REQUIRE(swarm.ask({"kill", "--stage", "1"}).status == 0);
  require_soon(swarm, *submit, [](const auto& job) { return job.at("went_back") == 1; });
  require_done(swarm, *submit, "saved-1");
  const std::string log = swarm.ask({"logs", "saved-1"}).output;
  INFO(log);
  CHECK(log.find("goes back to the checkpoint of commit ") != std::string::npos);
  std::string folder;
  for (const auto& entry : std::filesystem::directory_iterator(swarm.folder() / "shared"))
    folder = entry.path();
  bool of_the_end = false;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    of_the_end |= entry.path().filename().string().starts_with(std::to_string(steps) + "-") &&
                  std::filesystem::exists(entry.path() / "checkpoint.json");
  CHECK(of_the_end);

  auto longer = checkpointed_job(swarm, "longer");
  longer["steps"] = steps + 50;
  const auto more =
      swarm.start({"submit", write_job(swarm.folder(), longer), "--resume", folder, "--follow"});
  require_done(swarm, *more, "longer-2");
  const Finished first = swarm.ask({"record", "longer-2", "--step", std::to_string(steps + 1)});
  CHECK(first.status == 0);
  CHECK(swarm.ask({"record", "longer-2", "--step", "1"}).status != 0);
}

TEST_CASE(
    "Checkpoint: a node is left of four, others are started again, and the job goes on from where it was") {
  LocalSwarm swarm(4);
  const auto submit = swarm.submit(checkpointed_job(swarm, "all"));
  require_soon(swarm, *submit, has_checkpoint);
  for (int node = 1; node <= 3; ++node) kill(swarm.node_pid(node), SIGKILL);
  require_soon(swarm, *submit, [](const auto& job) { return job.at("went_back") == 1; });
  std::vector<std::unique_ptr<Process>> again;
  for (int node = 1; node <= 3; ++node)
    again.push_back(std::make_unique<Process>(std::vector<std::string>{
        "daemon", "--config", swarm.dir() + "/node-" + std::to_string(node) + "/node.json"}));
  require_done(swarm, *submit, "all-1");
}

}  // namespace sidestep::testing

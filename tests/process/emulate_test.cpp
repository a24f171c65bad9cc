// Slow links and slow tasks on one machine, as steps show them.
#include <catch2/catch.hpp>
#include <sstream>

#include "tests/process/swarm_fixture.h"

namespace sidestep::testing {
namespace {

// Of the training steps, from commit to commit, by the run record.
std::vector<double> step_seconds(const LocalSwarm& swarm, const std::string& job) {
  const Finished record = swarm.ask({"record", job, "--json"});
  REQUIRE(record.status == 0);
  std::vector<double> seconds;
  std::istringstream lines(record.output);
  for (std::string line; std::getline(lines, line);)
    if (const auto json = nlohmann::json::parse(line); json.contains("loss") && json.at("loss").is_number())
      seconds.push_back(json.at("duration_us").get<double>() / 1e6);
  return seconds;
}

std::string write_table(const TemporaryFolder& folder, const nlohmann::json& table) {
  const std::string path = folder / "emulate.json";
  write_text(path, table.dump(2));
  return path;
}

// Two nodes, one here and one there.
nlohmann::json two_regions(double latency_ms) {
  auto table = nlohmann::json::parse(R"({
    "wan": {"same_region": {"latency_ms": 0, "bandwidth_gib_s": 1},
            "links": [{"from": "here", "to": "there", "latency_ms": 0, "bandwidth_gib_s": 1}]},
    "nodes": [{"region": "here", "forward_s": 0.02, "backward_s": 0.05},
              {"region": "there", "forward_s": 0.02, "backward_s": 0.05}]})");
  table["wan"]["links"][0]["latency_ms"] = latency_ms;
  return table;
}

}  // namespace

TEST_CASE("Emulated swarm: a step takes what its links and tasks say") {
  const TemporaryFolder folder;
  LocalSwarm swarm(2, {"--emulate", write_table(folder, two_regions(60))});
  auto job = small_job(swarm.folder(), "far", 2, 5);
  job["validation"]["every"] = 0;
  const auto submit = swarm.submit(job);
  const auto status = submit->wait_exit(Seconds(60));
  INFO(submit->output() << submit->error() << swarm.logs());
  REQUIRE(status == 0);
  CHECK(swarm.logs().find("emulates 1 link, forward 0.02 s, backward 0.05 s") != std::string::npos);

  // Each of four microbatches is at the other node for 20 ms and 50 ms; the first comes there one latency
  // after the step began, and the last is back one latency after that.
  const auto seconds = step_seconds(swarm, "far-1");
  REQUIRE(seconds.size() == 5);
  for (const double step : seconds) {
    CHECK(step >= 0.06 + 4 * 0.07 + 0.06);
    CHECK(step < 5);
  }
}

TEST_CASE("Emulated swarm: a table that is too short, or wrong, is refused before anything runs") {
  const TemporaryFolder folder;
  auto table = two_regions(60);
  const auto up = [&](const char* nodes) {
    return run({"up", "--nodes", nodes, "--dir", folder / "swarm", "--emulate", write_table(folder, table)});
  };
  const Finished few = up("3");
  CHECK(few.status == 1);
  CHECK(few.error.find("nodes: 2 entries, 3 nodes are to run") != std::string::npos);
  table["nodes"][1]["region"] = "hare";
  const Finished wrong = up("2");
  CHECK(wrong.status == 1);
  CHECK(wrong.error.find("nodes[1].region: no region \"hare\"; did you mean \"here\"?") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder / "swarm"));
}

}  // namespace sidestep::testing

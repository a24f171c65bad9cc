// `sidestep simulate` as a user runs it.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/process/swarm_fixture.h"

namespace sidestep::testing {
namespace {

const std::string scenarios = SIDESTEP_SOURCE_DIR "/configs/scenarios/";

nlohmann::json two_nodes() {
  auto scenario = nlohmann::json::parse(R"({
    "nodes": [{"count": 2, "layer_forward_ms": 10}], "duration_s": 20, "planning_work": 20000,
    "events": [{"at_s": 5, "kind": "kill", "node": 1}]})");
  scenario["job"] = read_json(SIDESTEP_SOURCE_DIR "/configs/jobs/replicas.json");
  scenario["job"]["recovery"]["policy"] = "replica";
  return scenario;
}

std::string write_scenario(const TemporaryFolder& folder, const nlohmann::json& scenario) {
  write_text(folder / "s.json", scenario.dump(2));
  return folder / "s.json";
}

}  // namespace

TEST_CASE("Simulate: a shipped scenario gives its report and trace, the same for the same seed") {
  const TemporaryFolder folder;
  const std::vector<std::string> command = {
      "simulate", scenarios + "kill-one-replica.json", "--seed", "7", "--json", "--trace", folder / "trace"};
  const Finished first = run(command);
  INFO(first.error);
  REQUIRE(first.status == 0);
  const std::string trace = read_text(folder / "trace");
  const auto report = nlohmann::json::parse(first.output);
  CHECK(report.at("seed") == 7);
  CHECK(report.at("nodes") == 6);
  CHECK(report.at("steps") > 20);
  CHECK(report.at("plans").size() >= 2);
  CHECK(report.at("goodput") == report.at("shares").at("useful"));
  double whole = 0;
  for (const auto& share : report.at("shares")) whole += share.get<double>();
  CHECK(whole == Approx(1));
  CHECK(trace.find("\n20.000000 node-3 is killed\n") != std::string::npos);

  const Finished again = run(command);
  CHECK(again.output == first.output);
  CHECK((read_text(folder / "trace") == trace));
}

TEST_CASE("Simulate: people get a page, with the trace before it where they ask") {
  const Finished page = run({"simulate", scenarios + "calm.json"});
  REQUIRE(page.status == 0);
  for (const char* part : {"predicted step", "measured step", "tokens/s", "useful", "PLAN"})
    CHECK(page.output.find(part) != std::string::npos);
  const Finished traced = run({"simulate", scenarios + "calm.json", "--trace", "-"});
  CHECK(traced.output.size() > page.output.size());
  CHECK(traced.output.ends_with(page.output));
}

TEST_CASE("Simulate: a job that fails says after which step and why, and so does the exit status") {
  const TemporaryFolder folder;
  const Finished failed = run({"simulate", write_scenario(folder, two_nodes())});
  CHECK(failed.status == 1);
  CHECK(failed.output.find("job failed: ") != std::string::npos);
  CHECK(failed.error.find("sidestep: the job failed after step ") == 0);
  CHECK(failed.error.find("has no replica left") != std::string::npos);
}

TEST_CASE("Simulate: what is wrong with a scenario, a file or a flag is told") {
  const TemporaryFolder folder;
  auto scenario = two_nodes();
  scenario["events"][0]["nod"] = 2;
  const Finished wrong = run({"simulate", write_scenario(folder, scenario)});
  CHECK(wrong.status == 1);
  CHECK(wrong.error.find("unknown key \"events[0].nod\"; did you mean \"node\"?") != std::string::npos);
  CHECK(run({"simulate", folder / "none.json"}).status == 1);
  CHECK(run({"simulate"}).status == 2);
  CHECK(run({"simulate", scenarios + "calm.json", "--json", "--trace", "-"}).status == 2);
  const Finished unwritable = run({"simulate", scenarios + "calm.json", "--trace", folder / "no/such/file"});
  CHECK(unwritable.status == 1);
  CHECK(unwritable.error.find("no/such/file: cannot be written") != std::string::npos);
}

}  // namespace sidestep::testing

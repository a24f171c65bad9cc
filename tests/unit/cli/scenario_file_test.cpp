// What `sidestep simulate` makes of its file, and what it says of a wrong one.
#include "daemon/cli/scenario_file.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/unit/data/temporary_folder.h"

namespace sidestep::cli {
namespace {

using nlohmann::json;

const std::string configs = SIDESTEP_SOURCE_DIR "/configs/";

json example() {
  return json::parse(R"({
    "note": "anything",
    "job": {
      "name": "small", "steps": 3,
      "model": {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
      "pipeline": {"stages": 2, "microbatches_per_step": 4},
      "data": {"path": "text.txt", "sequence_length": 16},
      "optimizer": {"learning_rate": 0.001}
    },
    "nodes": [
      {"count": 3, "layer_forward_ms": 10, "layer_backward_ms": 25, "head_ms": 5, "spread": 0.5,
       "task_spread": 0.1, "memory_gb_s": 100, "memory_gib": 8},
      {"layer_forward_ms": 4, "has_data": false, "later": true}
    ],
    "links": {"latency_ms": 3, "bandwidth_mbit_s": 250, "jitter_ms": 1, "loss": 0.001},
    "events": [
      {"at_s": 1, "kind": "kill", "node": 1},
      {"at_s": 2.5, "kind": "start", "node": 4},
      {"at_s": 3, "kind": "pause", "node": 2, "for_s": 4},
      {"at_s": 4, "kind": "cut", "node": 2, "for_s": 1},
      {"at_s": 5, "kind": "cut", "node": 2, "peer": 3, "for_s": 1},
      {"at_s": 6, "kind": "slow", "node": 2, "factor": 0.5},
      {"at_s": 7, "kind": "restart_scheduler", "for_s": 9}
    ],
    "churn": {"every_s": 30, "another_after_s": 20, "vanish_share": 0.25},
    "duration_s": 100, "seed": 5, "planning_work": 5000
  })");
}

json wan_example() {
  json scenario = example();
  scenario["links"] = {{"wan", configs + "instances/wan.json"}};
  scenario["nodes"][0]["region"] = "Iowa";
  scenario["nodes"][1]["region"] = "Belgium";
  return scenario;
}

Result<sim::Scenario> load(const json& scenario) {
  const daemon::testing::TemporaryFolder folder;
  std::ofstream(folder.path("s.json")) << scenario;
  return load_scenario(folder.path("s.json"));
}

// What is said of it, without the folder.
std::string problems_of(const json& scenario) {
  const auto loaded = load(scenario);
  if (loaded.ok()) return "accepted";
  std::string text = loaded.status().message();
  for (std::size_t end = text.find("s.json"); end != std::string::npos; end = text.find("s.json", end + 1)) {
    const std::size_t begin = text.rfind('\n', end) == std::string::npos ? 0 : text.rfind('\n', end) + 1;
    text.erase(begin, end - begin);
    end = begin;
  }
  return text;
}

// The example with one value in another's place; null takes the key away.
std::string problems_with(const std::string& pointer, const json& value, json scenario = example()) {
  const json::json_pointer at(pointer);
  if (value.is_null())
    scenario[at.parent_pointer()].erase(at.back());
  else
    scenario[at] = value;
  return problems_of(scenario);
}

}  // namespace

TEST_CASE("Scenario: every key of the example arrives") {
  const auto loaded = load(example());
  INFO(loaded.status().message());
  REQUIRE(loaded.ok());
  const sim::Scenario& scenario = loaded.value();
  CHECK(scenario.job.name == "small");
  CHECK(scenario.job_json.at("pipeline").at("slots").is_number());  // complete
  REQUIRE(scenario.nodes.size() == 2);
  CHECK(scenario.node_count() == 4);
  CHECK(scenario.nodes[0].layer_backward_ms == 25);
  CHECK(scenario.nodes[0].spread == 0.5);
  CHECK(scenario.nodes[0].task_spread == 0.1);
  CHECK(scenario.nodes[0].memory_gb_s == 100);
  CHECK(scenario.nodes[0].memory_gib == 8);
  CHECK_FALSE(scenario.nodes[0].later);
  CHECK(scenario.nodes[1].count == 1);
  CHECK(scenario.nodes[1].later);
  CHECK_FALSE(scenario.nodes[1].has_data);
  CHECK(scenario.links.latency_ms == 3);
  CHECK(scenario.links.bandwidth_mbit_s == 250);
  CHECK(scenario.links.jitter_ms == 1);
  CHECK(scenario.links.loss == 0.001);
  CHECK_FALSE(scenario.wan.has_value());
  REQUIRE(scenario.events.size() == 7);
  CHECK(scenario.events[1].at_s == 2.5);
  CHECK(scenario.events[3].peer == 0);
  CHECK(scenario.events[4].peer == 3);
  CHECK(scenario.events[5].factor == 0.5);
  CHECK(scenario.events[6].for_s == 9);
  CHECK(scenario.churn.every_s == 30);
  CHECK(scenario.churn.another_after_s == 20);
  CHECK(scenario.churn.vanish_share == 0.25);
  CHECK(scenario.duration_s == 100);
  CHECK(scenario.seed == 5);
  CHECK(scenario.planning_work == 5'000);
}

TEST_CASE("Scenario: a table of regions, and a job beside the file") {
  json scenario = wan_example();
  scenario["job"] = configs + "jobs/quickstart.json";
  const auto loaded = load(scenario);
  INFO(loaded.status().message());
  REQUIRE(loaded.ok());
  REQUIRE(loaded.value().wan.has_value());
  CHECK(loaded.value().wan->regions.size() > 10);
  CHECK(loaded.value().job.pipeline.stages == 4);
}

TEST_CASE("Scenario: what is wrong is told with its key, value and bound") {
  struct Case {
    std::string pointer;
    json value;
    std::string message;
  };
  const Case cases[] = {
      {"/job", nullptr, "s.json: missing key \"job\": as for `sidestep submit`; its data is not read"},
      {"/job", 7, "s.json: key \"job\": must be a file or an object, found 7"},
      {"/job/steps", -1, "s.json: job: key \"steps\": value -1 is too small, at least 1 allowed"},
      {"/job/stepz", 1, "s.json: job: unknown key \"stepz\"; did you mean \"steps\"?"},
      {"/nodes", json::array(), "s.json: key \"nodes\": 0 nodes, 1 to 4096 allowed"},
      {"/nodes/0/count", 5'000,
       "s.json: key \"nodes[0].count\": value 5000 is too large, at most 4096 allowed"},
      {"/nodes/0/layer_forward_ms", 0,
       "s.json: key \"nodes[0].layer_forward_ms\": value 0 is too small, more than 0 needed"},
      {"/nodes/0/layer_forward_ms", "fast",
       "s.json: key \"nodes[0].layer_forward_ms\": must be a number, found the string \"fast\""},
      {"/nodes/0/task_spread", 1.5,
       "s.json: key \"nodes[0].task_spread\": value 1.5 is too large, at most 1 allowed"},
      {"/nodes/0/speed", 2, "s.json: unknown key \"nodes[0].speed\"; did you mean \"spread\"?"},
      {"/nodes/0/region", "Iowa", "s.json: key \"nodes[0].region\": means nothing without \"links.wan\""},
      {"/nodes/2", json{{"layer_forward_ms", 1}},
       "s.json: key \"nodes[2].later\": groups that come later are last"},
      {"/links/loss", 1, "s.json: key \"links.loss\": value 1 is too large, at most 0.99 allowed"},
      {"/events/0/kind", "explode",
       "s.json: key \"events[0].kind\": value \"explode\" is not known; allowed: \"kill\", \"vanish\", "
       "\"start\", "
       "\"drain\", \"pause\", \"cut\", \"slow\" and \"restart_scheduler\""},
      {"/events/0/at_s", -1, "s.json: key \"events[0].at_s\": value -1 is too small, at least 0 allowed"},
      {"/events/0/node", nullptr, "s.json: missing key \"events[0].node\": \"kill\" needs it"},
      {"/events/0/node", 5, "s.json: key \"events[0].node\": value 5 is too large, there are 4 nodes"},
      {"/events/0/for_s", 1, "s.json: key \"events[0].for_s\": means nothing for \"kill\""},
      {"/events/2/for_s", nullptr, "s.json: missing key \"events[2].for_s\": \"pause\" needs it"},
      {"/events/2/for_s", 0, "s.json: key \"events[2].for_s\": value 0 is too small, more than 0 needed"},
      {"/events/4/peer", 2, "s.json: key \"events[4].peer\": is the node itself"},
      {"/events/5/factor", nullptr, "s.json: missing key \"events[5].factor\": \"slow\" needs it"},
      {"/events/6/node", 1, "s.json: key \"events[6].node\": means nothing for \"restart_scheduler\""},
      {"/churn/every", 1, "s.json: unknown key \"churn.every\"; did you mean \"every_s\"?"},
      {"/duration_s", 0, "s.json: key \"duration_s\": value 0 is too small, more than 0 needed"},
      {"/seed", -3, "s.json: key \"seed\": must be a whole number, not negative, found -3"},
      {"/planning_work", 10, "s.json: key \"planning_work\": value 10 is too small, at least 1000 allowed"},
  };
  for (const Case& one : cases) CHECK(problems_with(one.pointer, one.value) == one.message);
}

TEST_CASE("Scenario: regions have to be those of the table") {
  CHECK(problems_of(wan_example()) == "accepted");
  CHECK(problems_with("/nodes/0/region", "Iova", wan_example()) ==
        "s.json: key \"nodes[0].region\": no region \"Iova\"; did you mean \"Iowa\"?");
  CHECK(problems_with("/nodes/0/region", nullptr, wan_example()) ==
        "s.json: missing key \"nodes[0].region\": \"links.wan\" needs it");
  CHECK(problems_with("/links/latency_ms", 1, wan_example()) ==
        "s.json: key \"links.latency_ms\": means nothing beside \"links.wan\"");
}

TEST_CASE("Scenario: all problems are told at once, those of the job among them") {
  json scenario = example();
  scenario["sead"] = 1;
  scenario["job"]["steps"] = 0;
  scenario["events"][0].erase("at_s");
  const std::string text = problems_of(scenario);
  INFO(text);
  CHECK(text.find("unknown key \"sead\"; did you mean \"seed\"?") != std::string::npos);
  CHECK(text.find("missing key \"events[0].at_s\"") != std::string::npos);
  CHECK(text.find("job: key \"steps\"") != std::string::npos);
}

TEST_CASE("Scenario: a file that is missing or not JSON is named") {
  CHECK(load_scenario("/nowhere/s.json").status().message().find("/nowhere/s.json") == 0);
  json scenario = example();
  scenario["job"] = "no-such-job.json";
  CHECK(problems_of(scenario).find("no-such-job.json") != std::string::npos);
}

TEST_CASE("Scenario: every shipped one is right") {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(configs + "scenarios")) {
    const auto loaded = load_scenario(entry.path());
    INFO(entry.path() << ": " << loaded.status().message());
    CHECK(loaded.ok());
    ++count;
  }
  CHECK(count >= 7);
}

}  // namespace sidestep::cli

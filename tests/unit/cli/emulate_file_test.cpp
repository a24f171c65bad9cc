// What `sidestep up --emulate FILE` makes of its file.
#include "daemon/cli/emulate_file.h"

#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/unit/data/temporary_folder.h"

namespace sidestep::cli {
namespace {

using nlohmann::json;

const std::string configs = SIDESTEP_SOURCE_DIR "/configs/";

std::vector<std::string> nicknames(std::size_t count) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < count; ++i) names.push_back("node-" + std::to_string(i + 1));
  return names;
}

json example() {
  return json::parse(R"({
    "wan": {"same_region": {"latency_ms": 1, "bandwidth_gib_s": 2},
            "links": [{"from": "East", "to": "West", "latency_ms": 10, "bandwidth_gib_s": 0.5, "jitter_ms": 3},
                      {"from": "West", "to": "East", "latency_ms": 20, "bandwidth_gib_s": 0.25, "loss": 0}]},
    "jitter_ms": 2, "loss": 0.125, "task_gap_s": 0.01, "fifo": true, "seed": 5,
    "nodes": [{"region": "East"}, {"region": "West", "forward_s": 0.5, "backward_s": 1, "head_s": 0.25},
              {"region": "West"}]})");
}

std::string problems_of(const json& table, std::size_t nodes = 2) {
  const daemon::testing::TemporaryFolder folder;
  const std::string file = folder.path("e.json");
  std::ofstream(file) << table;
  const auto blocks = load_emulation({file, 1, nicknames(nodes)});
  if (blocks.ok()) return "accepted";
  std::string text = blocks.status().message();
  for (std::size_t at = text.find(file); at != std::string::npos; at = text.find(file))
    text.replace(at, file.size(), "e.json");
  return text;
}

std::vector<driver::EmulateBlock> load(const std::string& file, std::size_t nodes, double scale = 1) {
  const auto blocks = load_emulation({file, scale, nicknames(nodes)});
  INFO(blocks.status().message());
  REQUIRE(blocks.ok());
  REQUIRE(blocks.value().size() == nodes);
  return blocks.value();
}

std::vector<driver::EmulateBlock> load(const json& table, std::size_t nodes, double scale = 1) {
  const daemon::testing::TemporaryFolder folder;
  std::ofstream(folder.path("e.json")) << table;
  return load(folder.path("e.json"), nodes, scale);
}

}  // namespace

TEST_CASE("Emulate file: the example gives six nodes their links and times") {
  const auto blocks = load(configs + "emulate.json", 6);
  for (const driver::EmulateBlock& block : blocks) CHECK(block.links.size() == 5);
  // Belgium to Belgium, and to Oregon, as wan.json says.
  CHECK(blocks[0].links[0].to == "node-2");
  CHECK(blocks[0].links[0].latency_s == Approx(0.001));
  CHECK(blocks[0].links[4].to == "node-6");
  CHECK(blocks[0].links[4].latency_s > 0.05);
  CHECK(blocks[0].links[4].jitter_s == Approx(0.002));
  CHECK(blocks[0].forward_s == 0);
  CHECK(blocks[5].backward_s == Approx(0.2));
}

TEST_CASE("Emulate file: a link's own jitter and loss go before those for all") {
  const auto blocks = load(example(), 3);
  const driver::EmulateLink& to_west = blocks[0].links[0];
  CHECK(to_west.to == "node-2");
  CHECK(to_west.latency_s == Approx(0.01));
  CHECK(to_west.bandwidth_bytes_per_s == Approx(0.5 * (1 << 30)));
  CHECK(to_west.jitter_s == Approx(0.003));
  CHECK(to_west.loss == 0.125);
  const driver::EmulateLink& to_east = blocks[1].links[0];
  CHECK(to_east.to == "node-1");
  CHECK(to_east.latency_s == Approx(0.02));
  CHECK(to_east.jitter_s == Approx(0.002));
  CHECK(to_east.loss == 0);
  CHECK(blocks[1].links[1].latency_s == Approx(0.001));
  CHECK(blocks[1].forward_s == 0.5);
  for (const driver::EmulateBlock& block : blocks) {
    CHECK(block.fifo);
    CHECK(block.seed == 5);
    CHECK(block.task_gap_s == Approx(0.01));
  }
}

TEST_CASE("Emulate file: what is written into node configs is taken there") {
  for (const driver::EmulateBlock& block : load(example(), 3, 0.001)) {
    driver::EmulateBlock read;
    scheduler::OptionTable table;
    driver::add_emulate_keys(table, read);
    scheduler::Problems problems("node.json");
    table.read({{"emulate", driver::to_json(block)}}, problems);
    CHECK(problems.status().message().empty());
    CHECK(read == block);
  }
}

TEST_CASE("Emulate file: an instance of the planner gives transfers and task times") {
  const auto blocks = load(configs + "instances/published20.json", 20);
  const json instance = json::parse(std::ifstream(configs + "instances/published20.json"));
  for (std::size_t from = 0; from < 20; ++from) {
    CHECK(blocks[from].forward_s == Approx(instance["nodes"][from]["forward_s"].get<double>()));
    CHECK(blocks[from].backward_s == Approx(instance["nodes"][from]["backward_s"].get<double>()));
    CHECK(blocks[from].head_s == Approx(instance["nodes"][from]["head_s"].get<double>()));
    CHECK(blocks[from].task_gap_s == Approx(0.13));
    REQUIRE(blocks[from].links.size() == 19);
    for (const driver::EmulateLink& link : blocks[from].links) {
      const std::size_t to = std::stoul(link.to.substr(5)) - 1;
      CHECK(link.transfer_s == Approx(instance["transfer_s"][from][to].get<double>()));
      CHECK(link.latency_s == 0);
    }
  }
  // The first nodes alone.
  const auto few = load(configs + "instances/head20.json", 3);
  CHECK(few[2].links.size() == 2);
}

TEST_CASE(
    "Emulate file: an instance's nodes that cannot reach each other lose everything, averaging has its "
    "link") {
  const json instance = json::parse(R"({"stages": 1, "microbatches_per_step": 1, "stage_bytes": 100,
    "nodes": [{"id": 0, "forward_s": 1, "backward_s": 2, "head_s": 0.5},
              {"id": 1, "forward_s": 1, "backward_s": 2, "head_s": 0.5}],
    "transfer_s": [[0, 3], [null, 0]], "latency_s": [[0, 0.5], [null, 0]],
    "bandwidth_bytes_per_s": [[1000, 4000], [null, 1000]]})");
  const auto blocks = load(instance, 2);
  CHECK(blocks[0].links[0].transfer_s == 3);
  CHECK(blocks[0].links[0].latency_s == 0.5);
  CHECK(blocks[0].links[0].bandwidth_bytes_per_s == 4000);
  CHECK(blocks[1].links[0].loss == 1);
  auto by_stage = instance;
  by_stage["stages"] = 2;
  by_stage["nodes"][1]["backward_s"] = {2, 3};
  CHECK(problems_of(by_stage) ==
        "e.json: nodes[1].backward_s: differs by stage; a node emulates one time for all");
}

TEST_CASE("Emulate file: a scale is a factor on every time") {
  const auto whole = load(example(), 2), tenth = load(example(), 2, 0.1);
  CHECK(tenth[1].forward_s == Approx(0.05));
  CHECK(tenth[1].backward_s == Approx(0.1));
  CHECK(tenth[1].head_s == Approx(0.025));
  CHECK(tenth[1].task_gap_s == Approx(0.001));
  CHECK(tenth[0].links[0].latency_s == Approx(0.001));
  CHECK(tenth[0].links[0].jitter_s == Approx(0.0003));
  CHECK(tenth[0].links[0].bandwidth_bytes_per_s == Approx(10 * whole[0].links[0].bandwidth_bytes_per_s));
  CHECK(tenth[0].links[0].loss == whole[0].links[0].loss);
  const auto instance = load(configs + "instances/head20.json", 2, 0.01);
  CHECK(instance[0].links[0].transfer_s == Approx(0.03659124));
}

TEST_CASE("Emulate file: all problems come at once, with their place") {
  CHECK(problems_of(example()) == "accepted");
  CHECK(problems_of(example(), 4) == "e.json: nodes: 3 entries, 4 nodes are to run");
  CHECK(problems_of(json::array()) == "e.json: must be an object, found a list");
  CHECK(problems_of(json::object()) == "e.json: wan: is missing\ne.json: nodes: is missing");
  auto table = example();
  table["jiter_ms"] = 1;
  table["loss"] = 2;
  table["seed"] = -1;
  table["fifo"] = 1;
  table["nodes"][0]["region"] = "Eats";
  table["nodes"][1]["forward_s"] = "slow";
  table["nodes"][2] = 7;
  CHECK(problems_of(table) ==
        "e.json: unknown key \"jiter_ms\"; did you mean \"jitter_ms\"?\n"
        "e.json: loss: value 2 is too large, at most 1 allowed\n"
        "e.json: fifo: must be true or false, found 1\n"
        "e.json: seed: value -1 is too small, at least 0 allowed\n"
        "e.json: nodes[0].region: no region \"Eats\"; did you mean \"East\"?\n"
        "e.json: nodes[1].forward_s: must be a number, found the string \"slow\"\n"
        "e.json: nodes[2]: must be an object, found 7");
}

TEST_CASE("Emulate file: problems of its links are told beside its own") {
  auto table = example();
  table["wan"]["links"][0]["jitter_ms"] = "x";
  table["wan"]["links"][1]["loss"] = 3;
  table["nodes"] = json::array();
  CHECK(problems_of(table) ==
        "e.json: wan: links[0].jitter_ms: must be a number, found the string \"x\"\n"
        "e.json: wan: links[1].loss: value 3 is too large, at most 1 allowed\n"
        "e.json: nodes: 0 entries, 1 to 4096 allowed");
  table = example();
  table["wan"] = "nowhere.json";
  CHECK(problems_of(table).find("nowhere.json") != std::string::npos);
  table["wan"] = 3;
  CHECK(problems_of(table) == "e.json: wan: must be a file or an object, found 3");
}

}  // namespace sidestep::cli

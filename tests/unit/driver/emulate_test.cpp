// The block "emulate" of a node's config.
#include "daemon/driver/emulate.h"

#include <catch2/catch.hpp>

using namespace sidestep;
using namespace sidestep::driver;

namespace {

std::string problems_of(const nlohmann::json& json, EmulateBlock& block) {
  scheduler::OptionTable table;
  add_emulate_keys(table, block);
  scheduler::Problems problems("node.json");
  table.read(json, problems);
  check_emulate_keys(block, "node-1", problems);
  return problems.status().message();
}

const nlohmann::json example = {
    {"emulate",
     {{"forward_s", 0.44},
      {"task_gap_s", 0.1},
      {"fifo", true},
      {"seed", 3},
      {"links",
       {{{"to", "node-2"}, {"latency_s", 0.05}, {"bandwidth_bytes_per_s", 2e6}, {"loss", 0.5}},
        {{"to", "node-3"}, {"transfer_s", 1.5}, {"jitter_s", 0.25}}}}}}};

}  // namespace

TEST_CASE("Emulate block: what it says becomes links and times in microseconds") {
  EmulateBlock block;
  REQUIRE(problems_of(example, block).empty());
  CHECK(block.asked());
  CHECK(block.task_times().forward_us == 440'000);
  CHECK(block.task_times().backward_us == 0);
  CHECK(block.task_times().gap_us == 100'000);
  CHECK(block.text() == "2 links with queues, forward 0.44 s, task gap 0.1 s");
  const net::EmulatedLink second = emulated_link(block, "node-1", "node-2");
  CHECK(second.latency_us == 50'000);
  CHECK(second.bytes_per_us == Approx(2));
  CHECK(second.transfer_us == 0);
  CHECK(second.loss == 0.5);
  CHECK(second.fifo);
  const net::EmulatedLink third = emulated_link(block, "node-1", "node-3");
  CHECK(third.transfer_us == 1'500'000);
  CHECK(third.jitter_us == 250'000);
  // Whoever is not named, such as a guest, is reached as it is.
  CHECK(emulated_link(block, "node-1", "").latency_us == 0);
}

TEST_CASE("Emulate block: every link has a seed of its own, the same each time") {
  EmulateBlock block;
  REQUIRE(problems_of(example, block).empty());
  const auto seed = [&](const char* from, const char* to) { return emulated_link(block, from, to).seed; };
  CHECK(seed("node-1", "node-2") == seed("node-1", "node-2"));
  CHECK(seed("node-1", "node-2") != seed("node-1", "node-3"));
  CHECK(seed("node-3", "node-2") != seed("node-1", "node-2"));
  const std::uint64_t before = seed("node-1", "node-2");
  block.seed = 4;
  CHECK(seed("node-1", "node-2") != before);
}

TEST_CASE("Emulate block: nothing is asked for unless a link or a time is given") {
  EmulateBlock block;
  CHECK_FALSE(block.asked());
  block.fifo = true;
  CHECK_FALSE(block.asked());
  block.head_s = 0.1;
  CHECK(block.asked());
}

TEST_CASE("Emulate block: it is read as it was written") {
  EmulateBlock block;
  REQUIRE(problems_of(example, block).empty());
  CHECK(to_json(block) == example.at("emulate"));
  EmulateBlock again;
  REQUIRE(problems_of({{"emulate", to_json(block)}}, again).empty());
  CHECK(again == block);
}

TEST_CASE("Emulate block: all problems come at once, with their keys and bounds") {
  auto json = example;
  auto& emulate = json["emulate"];
  emulate["forward_s"] = -1;
  emulate["head"] = 1;
  emulate["links"][0]["to"] = "node-1";
  emulate["links"][0]["bandwidth_bytes_per_s"] = 12;
  emulate["links"][1]["loss"] = 1.5;
  emulate["links"].push_back(nlohmann::json{{"to", "node-3"}, {"latency", 1}});
  emulate["links"].push_back(nlohmann::json{{"latency_s", 2'000}});
  EmulateBlock block;
  const std::string problems = problems_of(json, block);
  const auto says = [&](const char* text) { return problems.find(text) != std::string::npos; };
  INFO(problems);
  CHECK(says("key \"emulate.forward_s\": value -1 is too small, at least 0 allowed"));
  CHECK(says("unknown key \"emulate.head\"; did you mean"));
  CHECK(says("key \"emulate.links[0].bandwidth_bytes_per_s\": value 12 is too small, at least 1000 allowed"));
  CHECK(says("key \"emulate.links[0].to\": \"node-1\" is this node itself"));
  CHECK(says("key \"emulate.links[1].loss\": value 1.5 is too large, at most 1 allowed"));
  CHECK(says("key \"emulate.links[2].to\": \"node-3\" is there twice"));
  CHECK(says("unknown key \"emulate.links[2].latency\"; did you mean \"latency_s\"?"));
  CHECK(says("missing key \"emulate.links[3].to\""));
  CHECK(says("key \"emulate.links[3].latency_s\": value 2000 is too large, at most 1000 allowed"));
}

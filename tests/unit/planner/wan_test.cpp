#include "scheduler/planner/wan.h"

#include <catch2/catch.hpp>
#include <set>

#include "scheduler/memory.h"
#include "scheduler/planner/instance_json.h"
#include "scheduler/planner/rules.h"
#include "scheduler/planner/visit_share.h"
#include "tests/unit/planner/published.h"
#include "tests/unit/scheduler/swarm.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;
using nlohmann::json;

namespace {

WanTable table() { return parse_wan(instance_file("wan.json"), "wan.json").value(); }

std::string wan_refusal(const json& patch) {
  json edited = json::parse(R"({"same_region": {"latency_ms": 1, "bandwidth_gib_s": 2},
    "links": [{"from": "A", "to": "B", "latency_ms": 10, "bandwidth_gib_s": 0.5}]})");
  edited.merge_patch(patch);
  const Result<WanTable> parsed = parse_wan(edited, "w.json");
  return parsed.ok() ? "accepted" : parsed.status().message();
}

std::string bad_nodes(const std::string& text) {
  const Result<std::vector<std::uint32_t>> nodes = wan_nodes(table(), text);
  return nodes.ok() ? "accepted" : nodes.status().message();
}

// What published20 was made of: two layers a stage, four samples, 32 MiB of activations with a little header.
WanWork published_work() {
  WanWork work;
  work.stages = 6;
  work.stages_per_path = 4;
  work.microbatches = 30;
  work.samples = 4;
  work.layers.assign(6, 2);
  work.activation_bytes = (32u << 20) + 216;
  work.stage_bytes.assign(6, 1'000'000'000);
  return work;
}

std::vector<std::uint32_t> nodes(const std::string& text) { return wan_nodes(table(), text).value(); }

}  // namespace

TEST_CASE("WAN: the table has both ways of every link") {
  const WanTable wan = table();
  REQUIRE(wan.regions.size() == 12);
  CHECK(wan.regions[0] == "Australia");
  CHECK(wan.latency_s[0 * 12 + 1] == Approx(0.129));
  CHECK(wan.latency_s[1 * 12 + 0] == Approx(0.129));
  CHECK(wan.latency_s[0] == Approx(0.001));
  CHECK(wan.bandwidth[0] == 2.0 * (1u << 30));
}

TEST_CASE("WAN: problems of a table are told with their place") {
  CHECK(wan_refusal(json::object()) == "accepted");
  CHECK(wan_refusal({{"link", 1}}) == "w.json: unknown key \"link\"; did you mean \"links\"?");
  CHECK(wan_refusal({{"same_region", nullptr}}) == "w.json: same_region: is missing");
  CHECK(wan_refusal({{"links", json::array()}}) == "w.json: links: at least 1 is needed");
  CHECK(wan_refusal({{"links", {1}}}) == "w.json: links[0]: must be an object, found 1");
  const auto link = [](const char* from, const char* to, const json& rate) {
    return json{{"from", from}, {"to", to}, {"latency_ms", 1}, {"bandwidth_gib_s", rate}};
  };
  CHECK(wan_refusal({{"links", {link("A", "B", 0)}}}) ==
        "w.json: links[0].bandwidth_gib_s: value 0 is too small, at least 0.000001 allowed");
  CHECK(wan_refusal({{"links", {link("A", "B", "x")}}}) ==
        "w.json: links[0].bandwidth_gib_s: must be a number, found the string \"x\"");
  CHECK(wan_refusal({{"links", {link("A", "A", 1)}}}) ==
        "w.json: links[0]: a link of \"A\" to itself: that is same_region");
  CHECK(wan_refusal({{"links", {link("A", "B", 1), link("A", "B", 2)}}}) ==
        "w.json: links[1]: \"A\" to \"B\" is there twice");
  CHECK(wan_refusal({{"links", {link("A", "B", 1), link("A", "C", 1)}}}) ==
        "w.json: links: none between \"B\" and \"C\"");
  CHECK(wan_refusal({{"links", {link("A", "B", 1), link("B", "A", 2)}}}) == "accepted");
}

TEST_CASE("WAN: nodes as a number, or by region") {
  CHECK(nodes("14") == std::vector<std::uint32_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 1});
  CHECK(nodes("Belgium:2,Australia:1") == std::vector<std::uint32_t>{1, 1, 0});
  CHECK(bad_nodes("Belgum:2") == "no region \"Belgum\"; did you mean \"Belgium\"?");
  CHECK(bad_nodes("Belgium:0") == "\"Belgium:0\" is neither a number of nodes nor REGION:NUMBER");
  CHECK(bad_nodes("Belgium:1,") == "\"\" is neither a number of nodes nor REGION:NUMBER");
  CHECK(bad_nodes("-3") == "\"-3\" is neither a number of nodes nor REGION:NUMBER");
  CHECK(bad_nodes("5000") == "value 5000 is too large, at most 4096 nodes allowed");
  CHECK(bad_nodes("Belgium:4000,Iowa:97") == "value 4097 is too large, at most 4096 nodes allowed");
}

TEST_CASE("WAN: published20 comes out again, but for the link that was wrong there") {
  const Instance published = published20();
  const WanTable wan = table();
  std::vector<std::uint32_t> regions;
  for (const InstanceNode& node : published.nodes)
    regions.push_back(static_cast<std::uint32_t>(
        std::find(wan.regions.begin(), wan.regions.end(), node.location) - wan.regions.begin()));
  WanOptions options;
  options.visit_slack = 0;
  options.averaging = false;
  Instance made = instance_from_wan(wan, regions, published_work(), options).value();
  std::size_t differ = 0;
  for (std::size_t from = 0; from < 20; ++from)
    for (std::size_t to = 0; to < 20; ++to)
      if (std::abs(made.transfer(from, to) - published.transfer(from, to)) > 1) {
        CHECK(std::set<std::string>{published.nodes[from].location, published.nodes[to].location} ==
              std::set<std::string>{"NL", "London"});
        ++differ;
      }
  CHECK(differ == 4);  // two nodes in NL, one in London, both ways
  made.name = published.name;
  made.transfer_us = published.transfer_us;
  made.stage_sizes = published.stage_sizes;
  made.microbatches_per_origin = 6;
  CHECK(made == published);
}

TEST_CASE("WAN: what a job computes and sends") {
  json job = job_json(4);
  job["pipeline"]["microbatch_size"] = 3;
  job["precision"] = "bfloat16";
  const JobSpec spec = parse_job(job, "job.json").value();
  const WanWork work = wan_work(spec, 0.33);
  CHECK(work.stages == 4);
  CHECK(work.stages_per_path == 3);
  CHECK(work.microbatches == 4);
  CHECK(work.samples == 3);
  CHECK(work.layers == std::vector<double>(4, 2));
  CHECK(work.activation_bytes == 3 * 16 * 32 * 2);
  CHECK(work.stage_bytes[0] == stage_parameters(spec, 0) * 4);
  CHECK(stages_per_path(6, 0) == 6);
  CHECK(stages_per_path(6, 1.0 / 3) == 4);
  CHECK(stages_per_path(1, 0.9) == 1);
}

TEST_CASE("WAN: nodes differ within bounds, and by the seed alone") {
  WanOptions options;
  options.heterogeneity = 3;
  options.slots_min = 1;
  options.slots_max = 5;
  const Instance one = instance_from_wan(table(), nodes("200"), published_work(), options).value();
  CHECK(one == instance_from_wan(table(), nodes("200"), published_work(), options).value());
  std::set<std::uint32_t> slots;
  std::int64_t fastest = INT64_MAX, slowest = 0;
  for (const InstanceNode& node : one.nodes) {
    slots.insert(node.slots);
    fastest = std::min(fastest, node.forward_us[0]);
    slowest = std::max(slowest, node.forward_us[0]);
    CHECK(std::abs(node.backward_us[0] - node.forward_us[0] * 3 / 2) <= 1);
  }
  CHECK(slots == std::set<std::uint32_t>{1, 2, 3, 4, 5});
  CHECK(fastest >= 440'000);
  CHECK(fastest < 480'000);
  CHECK(slowest <= 1'760'000);
  CHECK(slowest > 1'600'000);
  options.seed = 2;
  CHECK_FALSE(one == instance_from_wan(table(), nodes("200"), published_work(), options).value());
}

TEST_CASE("WAN: sizes from 12 to 1,000 nodes and 4 to 32 stages can be planned, written and read") {
  struct Case {
    const char* nodes;
    std::uint32_t stages, microbatches;
  };
  for (const Case& size :
       {Case{"12", 4, 12}, Case{"40", 8, 60}, Case{"300", 16, 500}, Case{"1000", 32, 2000}}) {
    WanWork work = published_work();
    work.stages = size.stages;
    work.stages_per_path = stages_per_path(size.stages, 1.0 / 3);
    work.microbatches = size.microbatches;
    work.layers.assign(size.stages, 2);
    work.stage_bytes.assign(size.stages, 1'000'000'000);
    WanOptions options;
    options.heterogeneity = 1;
    const Instance instance = instance_from_wan(table(), nodes(size.nodes), work, options).value();
    CHECK(check_feasible(instance).message() == "");
    if (instance.node_count() > 300) continue;  // a large file takes a while
    const Result<Instance> again = parse_instance(json(to_json(instance)), "again.json");
    INFO(again.status().message());
    REQUIRE(again.ok());
    CHECK(again.value() == instance);
  }
}

TEST_CASE("WAN: what would take too long is refused with its links") {
  WanWork work = published_work();
  work.activation_bytes = 100'000'000'000;
  const Result<Instance> slow = instance_from_wan(table(), nodes("Australia:1,Belgium:1"), work, {});
  REQUIRE_FALSE(slow.ok());
  CHECK(slow.status().message() == "Australia to Belgium: a transfer takes 9477 s, at most 1000 allowed");
  work = published_work();
  work.samples = 1e6;
  CHECK(instance_from_wan(table(), nodes("3"), work, {}).status().message() ==
        "a task takes 165000 s, at most 1000 allowed");
}

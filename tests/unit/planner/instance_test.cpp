#include "scheduler/planner/instance_json.h"

#include <rapidcheck.h>
#include <rapidcheck/catch.h>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "scheduler/planner/rules.h"
#include "scheduler/planner/visit_share.h"
#include "tests/unit/planner/published.h"
#include "tests/unit/planner/random_json.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;
using nlohmann::json;

namespace {

// Three nodes, three stages; node "b" cannot be an origin.
json small() {
  return json::parse(R"({
    "stages": 3, "stages_per_path": 2, "microbatches_per_step": 4, "task_gap_s": 0.001,
    "nodes": [
      {"id": "a", "forward_s": 0.1, "backward_s": 0.2, "head_s": 0.05, "slots": 2},
      {"id": "b", "forward_s": 0.1, "backward_s": 0.2, "head_s": 0.05, "slots": 2, "can_be_origin": false},
      {"id": 7, "forward_s": [0.1, 0.2, 0.3], "backward_s": 0.2, "head_s": 0.05, "slots": 2}],
    "transfer_s": [[0, 1, 2], [3, 0, 4], [null, 6, 0]]
  })");
}

json changed(const json& patch) {
  json edited = small();
  edited.merge_patch(patch);
  return edited;
}

json instance_with(const std::string& pointer, const json& value) {
  json edited = small();
  edited[json::json_pointer(pointer)] = value;
  return edited;
}

Instance parsed(const json& value) {
  const Result<Instance> instance = parse_instance(value, "i.json");
  INFO(instance.status().message());
  REQUIRE(instance.ok());
  return instance.value();
}

std::string instance_refusal(const json& value) {
  const Result<Instance> instance = parse_instance(value, "i.json");
  return instance.ok() ? "accepted" : instance.status().message();
}

}  // namespace

TEST_CASE("Instance: the published one as it was written") {
  const Instance instance = published20();
  CHECK(instance.stages == 6);
  CHECK(instance.microbatches == 30);
  CHECK(instance.route_length() == 4);
  CHECK(instance.task_gap_us == 130'000);
  CHECK(instance.nodes.at(19).forward_us == std::vector<std::int64_t>(6, 440'000));
  CHECK(instance.transfer(19, 18) == 1'949'944);
  CHECK(instance.min_visits == std::vector<std::uint32_t>{30, 18, 18, 18, 18, 18});
  CHECK(instance.max_visits == instance.min_visits);
}

TEST_CASE("Instance: what is left out gets its default") {
  const Instance instance = parsed(small());
  CHECK(instance.max_swaps == 0);
  CHECK(instance.max_swap_distance == 1);
  CHECK(instance.max_skip == std::numeric_limits<std::uint32_t>::max());
  CHECK(instance.min_visits == std::vector<std::uint32_t>{4, 0, 0});
  CHECK(instance.max_visits == std::vector<std::uint32_t>{4, 4, 4});
  CHECK_FALSE(instance.placement_fixed());
  CHECK_FALSE(instance.counts_averaging());
  CHECK(instance.transfer(2, 0) == Instance::no_link);
  CHECK(instance.nodes[2].numeric_id);
  CHECK(instance.nodes[2].forward_us == std::vector<std::int64_t>{100'000, 200'000, 300'000});
  json all = small();
  all.erase("stages_per_path");
  CHECK(parsed(all).stages_per_path == 3);
}

TEST_CASE("Instance: times are whole microseconds, and no task takes none") {
  const Instance instance = parsed(changed(
      {{"task_gap_s", 0.0000004},
       {"nodes", json::array({{{"id", 1}, {"forward_s", 0}, {"backward_s", 1e-9}, {"head_s", 0.0000016}}})},
       {"transfer_s", {{5}}}}));
  CHECK(instance.task_gap_us == 0);
  CHECK(instance.nodes[0].forward_us == std::vector<std::int64_t>(3, 1));
  CHECK(instance.nodes[0].backward_us == std::vector<std::int64_t>(3, 1));
  CHECK(instance.nodes[0].head_us == 2);
  CHECK(instance.transfer_us == std::vector<std::int32_t>{0});  // the diagonal does not count
}

TEST_CASE("Instance: microbatches by origin count the nodes of stage 0 that may start them") {
  json fixed = changed({{"microbatches_per_step", nullptr},
                        {"microbatches_per_origin", 5},
                        {"stage_of", {{"a", 0}, {"7", {0, 2}}, {"b", 1}}}});
  CHECK(parsed(fixed).microbatches == 10);
  CHECK(parsed(fixed).stage_of == std::vector<std::vector<std::uint32_t>>{{0}, {1}, {0, 2}});
  fixed["nodes"][0]["draining"] = true;
  CHECK(parsed(fixed).microbatches == 5);
  json sizes = changed(
      {{"microbatches_per_step", nullptr}, {"microbatches_per_origin", 5}, {"stage_sizes", {1, 1, 1}}});
  CHECK(parsed(sizes).microbatches == 5);
}

TEST_CASE("Instance: an even share is the floor and ceiling over the live stages") {
  // 30 microbatches visit 3 of the 5 stages past 0: 18 each; with one stage out, 3 of 4: 22.5.
  Instance instance = published20();
  share_visits(instance, even_weights(6), 0);
  CHECK(instance == published20());
  instance.stage_out[3] = 1;
  share_visits(instance, even_weights(6), 1);
  CHECK(instance.min_visits == std::vector<std::uint32_t>{30, 21, 21, 0, 21, 21});
  CHECK(instance.max_visits == std::vector<std::uint32_t>{30, 24, 24, 0, 24, 24});
}

TEST_CASE("Instance: a share by depth visits late stages less, none more than there are microbatches") {
  const Instance instance = published20();
  const std::vector<double> shares = visit_shares(instance, depth_weights(6));
  // 90 visits. Stage 1 would get 90 x 60/137 = 39.4, so it gets all 30; then stage 2 would get 60 x 30/77 =
  // 23.4, and so on down to 60 x 12/77.
  CHECK(shares[0] == 30);
  CHECK(shares[1] == 30);
  CHECK(shares[2] == Approx(60 * 30.0 / 77));
  CHECK(shares[5] == Approx(60 * 12.0 / 77));
  const Instance read = parsed(changed({{"visit_share", "depth"}, {"visit_slack", 1}}));
  // 4 visits over weights 1 and 1/2: 2.67 and 1.33.
  CHECK(read.min_visits == std::vector<std::uint32_t>{4, 1, 0});
  CHECK(read.max_visits == std::vector<std::uint32_t>{4, 4, 3});
  CHECK(parsed(changed({{"visit_share", {0, 1, 0}}})).max_visits == std::vector<std::uint32_t>{4, 4, 0});
}

TEST_CASE("Instance: each problem is told with its place") {
  const json node = small()["nodes"][0];
  struct Case {
    json instance;
    std::string message;
  };
  const std::vector<Case> cases{
      {json::array(), "must be an object, found a list"},
      {changed({{"stags", 3}}), "unknown key \"stags\"; did you mean \"stages\"?"},
      {changed({{"stages", nullptr}}), "stages: is missing"},
      {changed({{"stages", 0}}), "stages: value 0 is too small, at least 1 allowed"},
      {changed({{"stages", 3.5}}), "stages: must be a whole number, found 3.5"},
      {changed({{"stages", 1e9}}), "stages: must be a whole number, found 1000000000.0"},
      {changed({{"stages_per_path", 4}}), "stages_per_path: a route cannot visit 4 of 3 stages"},
      {changed({{"max_swaps", -1}}), "max_swaps: value -1 is too small, at least 0 allowed"},
      {changed({{"max_skip", 0}}), "max_skip: value 0 is too small, at least 1 allowed"},
      {changed({{"min_swap_share", 1.5}}), "min_swap_share: value 1.5 is too large, at most 1 allowed"},
      {changed({{"task_gap_s", 1001}}), "task_gap_s: value 1001 is too large, at most 1000 allowed"},
      {changed({{"nodes", 3}}), "nodes: must be a list, found 3"},
      {changed({{"nodes", json::array()}}), "nodes: 0 entries, at least 1 needed"},
      {instance_with("/nodes/1", 5), "nodes[1]: must be an object, found 5"},
      {instance_with("/nodes/1/slot", 5), "nodes[1]: unknown key \"slot\"; did you mean \"slots\"?"},
      {instance_with("/nodes/1/slots", 0), "nodes[1].slots: value 0 is too small, at least 1 allowed"},
      {instance_with("/nodes/1/id", "a"), "nodes[1].id: \"a\" is the id of nodes[0] too"},
      {instance_with("/nodes/1/id", "7"), "nodes[2].id: \"7\" is the id of nodes[1] too"},
      {instance_with("/nodes/1/id", ""), "nodes[1].id: must not be empty"},
      {instance_with("/nodes/1/id", 1.5), "nodes[1].id: must be a string or a whole number, found 1.5"},
      {instance_with("/nodes/1/id", std::string(300, 'x')),
       "nodes[1].id: has 300 bytes, at most 200 allowed"},
      {instance_with("/nodes/1/forward_s", -1),
       "nodes[1].forward_s: value -1 is too small, at least 0 allowed"},
      {instance_with("/nodes/1/forward_s", 1e300),
       "nodes[1].forward_s: value 1e+300 is too large, at most 1000 allowed"},
      {instance_with("/nodes/1/forward_s", "fast"),
       "nodes[1].forward_s: must be a number, found the string \"fast\""},
      {instance_with("/nodes/1/forward_s", std::nan("")), "nodes[1].forward_s: must be a number, found null"},
      {instance_with("/nodes/1/forward_s", {1, 2}), "nodes[1].forward_s: 2 numbers, there are 3 stages"},
      {instance_with("/nodes/1/forward_s", {1, nullptr, 2}),
       "nodes[1].forward_s[1]: must be a number, found null"},
      {instance_with("/nodes/1/draining", 1), "nodes[1].draining: must be true or false, found 1"},
      {instance_with("/nodes/1/memory_bytes", 1), "nodes[1].memory_bytes: needs \"stage_memory_bytes\""},
      {changed({{"stages_out", 1}}), "stages_out: must be a list, found 1"},
      {changed({{"stages_out", {0}}}), "stages_out[0]: stage 0 cannot be out: every microbatch visits it"},
      {changed({{"stages_out", {1, 1}}}), "stages_out[1]: stage 1 is there twice"},
      {changed({{"stages_out", {3}}}), "stages_out[0]: no stage 3, there are stages 0 to 2"},
      {changed({{"stage_sizes", {1, 1}}}), "stage_sizes: 2 numbers, there are 3 stages"},
      {changed({{"stage_sizes", {1, 0, 1}}}), "stage_sizes[1]: a stage needs at least 1 node"},
      {changed({{"stage_sizes", {1, 2, 1}}}), "stage_sizes: the sum is 4, 3 nodes can hold 3 stages"},
      {changed({{"stage_sizes", {1, 1, 1}}, {"stages_out", {2}}}),
       "stage_sizes[2]: stage 2 is out, nobody holds it"},
      {changed({{"stage_of", {{"x", 0}}}}), "stage_of.x: no node \"x\""},
      {changed({{"stage_of", {{"x y", 0}}}}), "stage_of[\"x y\"]: no node \"x y\""},
      {changed({{"stage_of", {{"a", 3}}}}), "stage_of.a: no stage 3, there are stages 0 to 2"},
      {changed({{"stage_of", {{"a", {0, 0}}}}}), "stage_of.a[1]: stage 0 is there twice"},
      {changed({{"stage_of", {{"a", {0, 1}}}}, {"stages_out", {1}}}),
       "stage_of.a[1]: stage 1 is out, nobody holds it"},
      {changed({{"stage_of", {{"b", 0}}}}),
       "stage_of.b: this node cannot be an origin, so it cannot hold stage 0"},
      {changed({{"stage_of", {{"b", 1}}}}), "stage_of: no node holds stage 0"},
      {changed({{"stage_of", {{"a", 0}, {"b", 1}, {"7", 1}}}, {"stage_sizes", {1, 1, 1}}}),
       "stage_of: stage 1 is held by 2 nodes, stage_sizes says 1\n"
       "i.json: stage_of: stage 2 is held by 0 nodes, stage_sizes says 1"},
      {changed({{"microbatches_per_step", nullptr}}),
       "\"microbatches_per_step\" or \"microbatches_per_origin\" is missing"},
      {changed({{"microbatches_per_origin", 2}}),
       "microbatches_per_step: not together with \"microbatches_per_origin\""},
      {changed({{"microbatches_per_step", nullptr}, {"microbatches_per_origin", 2}}),
       "microbatches_per_origin: how many origins there are is not known: give \"stage_sizes\" or "
       "\"stage_of\", or \"microbatches_per_step\" in its place"},
      {changed({{"microbatches_per_step", nullptr},
                {"microbatches_per_origin", 60000},
                {"stage_of", {{"a", 0}, {"7", 0}}}}),
       "microbatches_per_origin: 2 origins make 120000 microbatches, at most 100000 allowed"},
      {changed({{"min_visits_per_stage", 5}}),
       "min_visits_per_stage: 5 visits, the microbatches of a step are 4"},
      {changed({{"min_visits_per_stage", {4, 3, 1}}, {"max_visits_per_stage", 2}}),
       "min_visits_per_stage[1]: 3 visits, max_visits_per_stage allows 2"},
      {changed({{"max_visits_per_stage", {3, 4, 4}}}),
       "max_visits_per_stage[0]: stage 0 is visited by all 4 microbatches"},
      {changed({{"visit_share", "evn"}}),
       "visit_share: must be \"even\", \"depth\" or a list of one weight per stage, found the string "
       "\"evn\""},
      {changed({{"visit_share", {1, 0, 0}}}),
       "visit_share: 0 live stages past 0 with a weight, routes visit 1"},
      {changed({{"visit_share", "even"}, {"max_visits_per_stage", 2}}),
       "max_visits_per_stage: not together with \"visit_share\""},
      {changed({{"visit_slack", 1}}), "visit_slack: needs \"visit_share\""},
      {changed({{"transfer_s", nullptr}}), "transfer_s: is missing"},
      {changed({{"transfer_s", {{0, 1, 2}, {3, 0, 4}}}}), "transfer_s: 2 rows, 3 nodes"},
      {instance_with("/transfer_s/2", {6, 0}), "transfer_s[2]: 2 entries, 3 nodes"},
      {instance_with("/transfer_s/2", 6), "transfer_s[2]: must be a list, found 6"},
      {instance_with("/transfer_s/2/1", -0.5),
       "transfer_s[2][1]: value -0.5 is too small, at least 0 allowed"},
      {instance_with("/transfer_s/2/1", "x"), "transfer_s[2][1]: must be a number, found the string \"x\""},
      {changed({{"stage_bytes", 5}}),
       "latency_s: is missing, \"stage_bytes\" needs it\n"
       "i.json: bandwidth_bytes_per_s: is missing, \"stage_bytes\" needs it"},
      {changed({{"stage_memory_bytes", 5}}),
       "slot_memory_bytes: is missing, \"stage_memory_bytes\" needs it"},
      {changed({{"stage_bytes", 5},
                {"latency_s", {{0, 0, 0}, {0, 0, 0}, {nullptr, 0, 0}}},
                {"bandwidth_bytes_per_s", {{0, 5e6, nullptr}, {5e6, 0, 100}, {nullptr, 5e6, 0}}}}),
       "bandwidth_bytes_per_s[0][2]: null only where transfer_s is null\n"
       "i.json: bandwidth_bytes_per_s[1][2]: value 100 is too small, at least 1000 allowed"},
  };
  for (const Case& one : cases) CHECK(instance_refusal(one.instance) == "i.json: " + one.message);
}

TEST_CASE("Instance: all problems come at once, up to fifty") {
  json bad = changed({{"stages", "six"}, {"max_swaps", -1}, {"colour", 1}});
  bad["nodes"][2].erase("head_s");
  CHECK(instance_refusal(bad) ==
        "i.json: unknown key \"colour\"\n"
        "i.json: stages: must be a whole number, found the string \"six\"\n"
        "i.json: max_swaps: value -1 is too small, at least 0 allowed\n"
        "i.json: nodes[2].head_s: is missing");

  json rows = json::array();
  for (int n = 0; n < 100; ++n) rows.push_back(json::array({"x"}));
  json nodes = json::array();
  for (int n = 0; n < 100; ++n)
    nodes.push_back({{"id", n}, {"forward_s", 1}, {"backward_s", 1}, {"head_s", 1}});
  const std::string text = instance_refusal(changed({{"nodes", nodes}, {"transfer_s", rows}}));
  CHECK(std::count(text.begin(), text.end(), '\n') == 50);
  CHECK(text.ends_with("transfer_s[49]: 1 entry, 100 nodes\ni.json: and 50 more"));
}

TEST_CASE("Instance: huge and deep input is refused, quickly and shortly") {
  CHECK(instance_refusal(changed({{"nodes", std::vector<int>(1'000'000, 0)}})) ==
        "i.json: nodes: 1000000 entries, at most 4096 allowed");
  CHECK(instance_refusal(changed({{"stage_sizes", std::vector<int>(1'000'000, 0)}})) ==
        "i.json: stage_sizes: 1000000 numbers, there are 3 stages");
  CHECK(instance_refusal(changed({{"stages_out", std::vector<int>(1'000'000, 0)}})).size() < 5'000);
  json keys = small();
  for (int i = 0; i < 20'000; ++i) keys["key" + std::to_string(i)] = i;
  keys[std::string(1'000'000, 'k')] = 0;
  CHECK(instance_refusal(keys).size() < 5'000);
  CHECK(instance_refusal(changed({{"name", std::string(1'000'000, 'n')}})) ==
        "i.json: name: has 1000000 bytes, at most 200 allowed");
  CHECK(instance_refusal(instance_with("/nodes/0/slots", std::string(1'000'000, 'n'))).size() < 200);

  const std::string path = std::filesystem::temp_directory_path() / "sidestep_deep_instance.json";
  std::ofstream(path) << R"({"stages": )" << std::string(100'000, '[') << std::string(100'000, ']') << '}';
  const Result<Instance> deep = load_instance(path);
  REQUIRE_FALSE(deep.ok());
  CHECK(deep.status().message().starts_with(path + ": stages: must be a whole number, found a list\n"));
  std::filesystem::remove(path);
  CHECK(load_instance(path).status().message() == path + ": cannot be read: No such file or directory");
}

TEST_CASE("Instance: what is written is read back the same") {
  CHECK(parsed(json(to_json(published20()))) == published20());
  rc::prop("any instance", [](std::uint64_t seed) {
    net::Random random(seed);
    const Result<Instance> instance = parse_instance(random_instance_json(random), "i.json");
    if (!instance.ok()) RC_FAIL(instance.status().message());
    const Result<Instance> again = parse_instance(json(to_json(instance.value())), "again.json");
    if (!again.ok()) RC_FAIL(again.status().message());
    RC_ASSERT(again.value() == instance.value());
    // Through text, as a file.
    RC_ASSERT(parse_instance(json::parse(to_json(instance.value()).dump()), "").value() == instance.value());
  });
}

TEST_CASE("Instance: spoiled files are refused line by line, or read") {
  rc::prop("any damage", [](std::uint64_t seed) {
    net::Random random(seed);
    const Result<Instance> instance = parse_instance(spoiled(random_instance_json(random), random), "i.json");
    if (instance.ok()) {
      RC_ASSERT(parse_instance(json(to_json(instance.value())), "").value() == instance.value());
      (void)check_feasible(instance.value()).ok();
      (void)broken_rules(instance.value(), random_plan(instance.value(), random));
      return;
    }
    std::istringstream lines(instance.status().message());
    for (std::string line; std::getline(lines, line);) RC_ASSERT(line.starts_with("i.json: "));
  });
}

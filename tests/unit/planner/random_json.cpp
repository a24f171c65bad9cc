#include "tests/unit/planner/random_json.h"

#include <algorithm>
#include <string>
#include <vector>

namespace sidestep::scheduler::testing {
namespace {

using nlohmann::json;

// A number for all stages, or one for each.
template <class Draw>
json per_stage(net::Random& random, std::int64_t stages, const Draw& draw) {
  if (random.chance(0.5)) return draw();
  json list = json::array();
  for (std::int64_t s = 0; s < stages; ++s) list.push_back(draw());
  return list;
}

template <class Draw>
json matrix(std::int64_t nodes, const Draw& draw) {
  json rows = json::array();
  for (std::int64_t from = 0; from < nodes; ++from) {
    rows.push_back(json::array());
    for (std::int64_t to = 0; to < nodes; ++to) rows.back().push_back(draw(from, to));
  }
  return rows;
}

void add_visits(json& instance, net::Random& random, std::int64_t stages, std::int64_t microbatches) {
  if (random.chance(0.3)) {
    instance["visit_share"] = random.chance(0.5) ? "even" : "depth";
    instance["visit_slack"] = random.between(0, 3);
  } else if (random.chance(0.5)) {
    const auto least = [&] { return random.between(0, microbatches / 2); };
    instance["min_visits_per_stage"] = per_stage(random, stages, least);
    json most = per_stage(random, stages, [&] { return random.between(microbatches / 2, microbatches); });
    if (most.is_array()) most[0] = microbatches;
    instance["max_visits_per_stage"] = most;
  }
}

json random_node(net::Random& random, std::int64_t stages, std::int64_t number, bool memory) {
  const auto seconds = [&] { return static_cast<double>(random.between(0, 2'000'000)) / 1e6; };
  json node{{"forward_s", per_stage(random, stages, seconds)},
            {"backward_s", per_stage(random, stages, seconds)},
            {"head_s", seconds()},
            {"slots", random.between(1, 4)}};
  node["id"] = random.chance(0.5) ? json(number) : json("n\xc3\xb6" + std::to_string(number));
  if (random.chance(0.5)) node["location"] = "Iowa";
  if (random.chance(0.1)) node["max_stages"] = random.between(1, 3);
  if (random.chance(0.1)) node["can_be_origin"] = false;
  if (random.chance(0.1)) node["draining"] = true;
  if (memory && random.chance(0.5)) node["memory_bytes"] = random.between(1, 10'000);
  return node;
}

void spoil_one(json& value, net::Random& random) {
  // Down to some value, then something else in its place.
  json* place = &value;
  while (place->is_structured() && !place->empty() && !random.chance(0.2)) {
    auto it = place->begin();
    std::advance(it, random.between(0, static_cast<std::int64_t>(place->size()) - 1));
    place = &*it;
  }
  switch (random.between(0, 11)) {
    case 0:
      *place = nullptr;
      break;
    case 1:
      *place = -1;
      break;
    case 2:
      *place = random.between(0, 5);
      break;
    case 3:
      *place = 1e300;
      break;
    case 4:
      *place = 0.5;
      break;
    case 5:
      *place =
          "\xff"
          "a\nb";
      break;
    case 6:
      *place = json::array();
      break;
    case 7:
      *place = json::array({json::array(), 1, "x"});
      break;
    case 8:
      *place = json::object({{"", 1}, {"a.b", 2}});
      break;
    case 9:
      *place = INT64_MIN;
      break;
    case 10:
      *place = UINT64_MAX;
      break;
    default:
      if (place->is_array() && !place->empty()) place->erase(place->size() - 1);
      if (place->is_object() && !place->empty()) place->erase(place->begin());
  }
}

}  // namespace

json random_instance_json(net::Random& random) {
  const std::int64_t stages = random.between(1, 7), nodes = random.between(1, 9);
  const std::int64_t microbatches = random.between(1, 12);
  json instance{{"stages", stages}, {"stages_per_path", random.between(1, stages)}};
  if (random.chance(0.5)) instance["name"] = "random";
  if (random.chance(0.5)) instance["max_swaps"] = random.between(0, 3);
  if (random.chance(0.5)) instance["max_swap_distance"] = random.between(1, 3);
  if (random.chance(0.3)) instance["max_skip"] = random.between(1, 4);
  if (random.chance(0.3)) instance["min_swap_share"] = random.uniform();
  if (random.chance(0.5)) instance["task_gap_s"] = random.uniform();
  instance["microbatches_per_step"] = microbatches;
  add_visits(instance, random, stages, microbatches);
  const bool memory = random.chance(0.3);
  instance["nodes"] = json::array();
  for (std::int64_t n = 0; n < nodes; ++n)
    instance["nodes"].push_back(random_node(random, stages, n, memory));
  if (stages > 1 && random.chance(0.3)) instance["stages_out"] = {random.between(1, stages - 1)};
  if (random.chance(0.3)) {
    instance["stage_of"] = json::object();
    instance["nodes"][0].erase("can_be_origin");
    for (const json& node : instance["nodes"]) {
      const std::string id = node["id"].is_string() ? node["id"].get<std::string>() : node["id"].dump();
      instance["stage_of"][id] = json::array();
      for (std::int64_t s = 0; s < stages; ++s)
        if (!(instance.contains("stages_out") && instance["stages_out"][0] == s) &&
            (s > 0 || node.value("can_be_origin", true)) &&
            (random.chance(0.3) || node == instance["nodes"][0]))
          instance["stage_of"][id].push_back(s);
    }
  }
  const bool averaging = random.chance(0.5);
  std::vector<char> cut(static_cast<std::size_t>(nodes * nodes), 0);
  for (char& link : cut) link = random.chance(0.05) ? 1 : 0;
  const auto unless_cut = [&](const auto& draw) {
    return matrix(nodes, [&](std::int64_t from, std::int64_t to) -> json {
      if (cut[static_cast<std::size_t>(from * nodes + to)] != 0) return nullptr;
      return draw();
    });
  };
  instance["transfer_s"] = unless_cut([&] { return random.uniform() * 3; });
  if (averaging) {
    instance["stage_bytes"] = per_stage(random, stages, [&] { return random.between(0, 1'000'000'000); });
    instance["latency_s"] = unless_cut([&] { return random.uniform(); });
    instance["bandwidth_bytes_per_s"] = unless_cut([&] { return 1e6 * (1 + random.uniform()); });
  }
  if (memory) {
    instance["stage_memory_bytes"] = per_stage(random, stages, [&] { return random.between(0, 5'000); });
    instance["slot_memory_bytes"] = per_stage(random, stages, [&] { return random.between(0, 1'000); });
  }
  return instance;
}

PathPlan random_plan(const Instance& instance, net::Random& random) {
  PathPlan plan;
  plan.stage_of = instance.stage_of;
  plan.stage_of.resize(instance.node_count());
  const auto last_stage = static_cast<std::int64_t>(instance.stages) - 1;
  const auto last_node = static_cast<std::int64_t>(instance.node_count()) - 1;
  for (auto& held : plan.stage_of) {
    while (!instance.placement_fixed() && random.chance(0.6))
      held.push_back(static_cast<std::uint32_t>(random.between(0, last_stage)));
    std::sort(held.begin(), held.end());
    held.erase(std::unique(held.begin(), held.end()), held.end());
    plan.slots.push_back(static_cast<std::uint32_t>(random.between(1, 4)));
  }
  for (std::uint32_t m = 0; m < instance.microbatches; ++m) {
    Path path{m, {}};
    for (std::int64_t tries = 0; tries < 20 && path.hops.size() < instance.stages_per_path; ++tries) {
      const auto node = static_cast<std::uint32_t>(random.between(0, last_node));
      const auto& held = plan.stage_of[node];
      if (held.empty()) continue;
      const auto pick = random.between(0, static_cast<std::int64_t>(held.size()) - 1);
      path.hops.push_back({held[static_cast<std::size_t>(pick)], node});
    }
    if (!path.hops.empty()) plan.paths.push_back(std::move(path));
  }
  return plan;
}

json spoiled(json value, net::Random& random) {
  for (std::int64_t i = random.between(1, 4); i > 0; --i) spoil_one(value, random);
  return value;
}

}  // namespace sidestep::scheduler::testing

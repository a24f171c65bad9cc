#include <algorithm>
#include <charconv>

#include "scheduler/planner/instance_json.h"

namespace sidestep::scheduler {
namespace {

using Json = nlohmann::ordered_json;

double seconds(std::int64_t us) { return static_cast<double>(us) / 1e6; }

// One value where all stages have the same.
template <class Value, class Shown>
Json per_stage(const std::vector<Value>& values, const Shown& shown) {
  if (!values.empty() &&
      std::all_of(values.begin(), values.end(), [&](const Value& value) { return value == values.front(); }))
    return shown(values.front());
  Json list = Json::array();
  for (const Value& value : values) list.push_back(shown(value));
  return list;
}

template <class Value, class Shown>
Json matrix(const std::vector<Value>& values, std::size_t nodes, const Shown& shown) {
  Json rows = Json::array();
  for (std::size_t from = 0; from < nodes; ++from) {
    Json row = Json::array();
    for (std::size_t to = 0; to < nodes; ++to) row.push_back(shown(values[from * nodes + to]));
    rows.push_back(std::move(row));
  }
  return rows;
}

const auto as_is = [](const auto& value) -> Json { return value; };
const auto as_seconds = [](const auto& us) -> Json {
  if (us < 0) return nullptr;
  return seconds(us);
};

Json node_json(const InstanceNode& node) {
  Json json;
  json["id"] = id_json(node);
  if (!node.location.empty()) json["location"] = node.location;
  json["forward_s"] = per_stage(node.forward_us, as_seconds);
  json["backward_s"] = per_stage(node.backward_us, as_seconds);
  json["head_s"] = seconds(node.head_us);
  json["slots"] = node.slots;
  if (node.memory_bytes > 0) json["memory_bytes"] = node.memory_bytes;
  if (node.max_stages != 1) json["max_stages"] = node.max_stages;
  if (!node.can_be_origin) json["can_be_origin"] = false;
  if (node.draining) json["draining"] = true;
  return json;
}

void add_placement(const Instance& instance, Json& json) {
  if (!instance.stage_sizes.empty()) json["stage_sizes"] = instance.stage_sizes;
  Json out = Json::array();
  for (std::uint32_t s = 0; s < instance.stages; ++s)
    if (instance.stage_out[s] != 0) out.push_back(s);
  if (!out.empty()) json["stages_out"] = std::move(out);
  if (!instance.placement_fixed()) return;
  Json stage_of = Json::object();
  for (std::size_t n = 0; n < instance.nodes.size(); ++n) {
    const std::vector<std::uint32_t>& held = instance.stage_of[n];
    if (!held.empty()) stage_of[instance.nodes[n].id] = held.size() == 1 ? Json(held[0]) : Json(held);
  }
  json["stage_of"] = std::move(stage_of);
}

}  // namespace

nlohmann::ordered_json id_json(const InstanceNode& node) {
  const char* end = node.id.data() + node.id.size();
  std::uint64_t number = 0;
  if (node.numeric_id && std::from_chars(node.id.data(), end, number).ptr == end) return number;
  return node.id;
}

nlohmann::ordered_json to_json(const Instance& instance) {
  Json json;
  if (!instance.name.empty()) json["name"] = instance.name;
  json["stages"] = instance.stages;
  json["stages_per_path"] = instance.stages_per_path;
  json["max_swaps"] = instance.max_swaps;
  json["max_swap_distance"] = instance.max_swap_distance;
  if (instance.max_skip <= Instance::stages_max) json["max_skip"] = instance.max_skip;
  if (instance.microbatches_per_origin > 0)
    json["microbatches_per_origin"] = instance.microbatches_per_origin;
  else
    json["microbatches_per_step"] = instance.microbatches;
  json["min_visits_per_stage"] = instance.min_visits;
  json["max_visits_per_stage"] = instance.max_visits;
  if (instance.min_swap_share > 0) json["min_swap_share"] = instance.min_swap_share;
  add_placement(instance, json);
  json["task_gap_s"] = seconds(instance.task_gap_us);
  json["nodes"] = Json::array();
  for (const InstanceNode& node : instance.nodes) json["nodes"].push_back(node_json(node));
  const std::size_t nodes = instance.nodes.size();
  json["transfer_s"] = matrix(instance.transfer_us, nodes, as_seconds);
  if (instance.counts_averaging()) {
    json["stage_bytes"] = per_stage(instance.stage_bytes, as_is);
    json["latency_s"] = matrix(instance.latency_us, nodes, as_seconds);
    json["bandwidth_bytes_per_s"] = matrix(instance.bandwidth, nodes, [](double rate) -> Json {
      if (rate == 0) return nullptr;
      return rate;
    });
  }
  if (!instance.stage_memory_bytes.empty()) {
    json["stage_memory_bytes"] = per_stage(instance.stage_memory_bytes, as_is);
    json["slot_memory_bytes"] = per_stage(instance.slot_memory_bytes, as_is);
  }
  return json;
}

}  // namespace sidestep::scheduler

#include "scheduler/plan.h"

#include <algorithm>
#include <limits>
#include <set>

#include "net/assert.h"
#include "scheduler/json_reader.h"

namespace sidestep::scheduler {
namespace {

nlohmann::json routes_to_json(const std::vector<PlannedRoute>& routes) {
  nlohmann::json list = nlohmann::json::array();
  for (const PlannedRoute& route : routes) {
    nlohmann::json hops = nlohmann::json::array();
    for (const net::Hop& hop : route.hops) hops.push_back({hop.stage, hop.node.hex()});
    list.push_back({{"microbatch", route.microbatch}, {"hops", std::move(hops)}});
  }
  return list;
}

std::vector<PlannedRoute> read_routes(const nlohmann::json& json, JsonReader& reader) {
  std::vector<PlannedRoute> routes;
  for (const nlohmann::json& entry : reader.list(json)) {
    PlannedRoute& route = routes.emplace_back();
    route.microbatch = reader.natural32(reader.member(entry, "microbatch"));
    for (const nlohmann::json& pair : reader.list(reader.member(entry, "hops"))) {
      if (reader.list(pair, 2).empty()) break;
      route.hops.push_back({reader.natural32(pair[0]), reader.key(reader.text(pair[1]))});
    }
  }
  return routes;
}

void check_routes(const Plan& plan, const std::vector<PlannedRoute>& routes, const char* what,
                  JsonReader& reader) {
  std::set<std::uint32_t> microbatches;
  for (const PlannedRoute& route : routes) {
    const std::string name = std::string(what) + " " + std::to_string(route.microbatch);
    if (!microbatches.insert(route.microbatch).second) reader.fail(name + " has two routes");
    if (route.microbatch >= routes.size()) reader.fail(name + " is numbered past the last");
    if (route.hops.empty() || route.hops.front().stage != 0) reader.fail(name + " does not begin at stage 0");
    std::set<std::uint32_t> stages;
    for (const net::Hop& hop : route.hops) {
      if (!stages.insert(hop.stage).second)
        reader.fail(name + " visits stage " + std::to_string(hop.stage) + " twice");
      if (!plan.holds(hop.node, hop.stage))
        reader.fail(name + " visits stage " + std::to_string(hop.stage) + " at node " +
                    hop.node.short_name() + ", which does not hold it");
    }
  }
}

}  // namespace

std::uint32_t Plan::stage_count() const {
  std::uint32_t count = 0;
  for (const auto& [node, stages] : stages_of)
    for (const std::uint32_t stage : stages) count = std::max(count, stage + 1);
  return count;
}

std::vector<net::NodeKey> Plan::replicas(std::uint32_t stage) const {
  std::vector<net::NodeKey> nodes;
  for (const auto& [node, stages] : stages_of)
    if (std::binary_search(stages.begin(), stages.end(), stage)) nodes.push_back(node);
  return nodes;
}

net::NodeKey Plan::lead_origin() const {
  const std::vector<net::NodeKey> origins = replicas(0);
  SIDESTEP_ASSERT(!origins.empty());
  return origins.front();
}

bool Plan::holds(const net::NodeKey& node, std::uint32_t stage) const {
  const auto it = stages_of.find(node);
  return it != stages_of.end() && std::binary_search(it->second.begin(), it->second.end(), stage);
}

std::vector<std::uint32_t> Plan::visits(const net::NodeKey& node, std::uint32_t stage) const {
  std::vector<std::uint32_t> microbatches;
  for (const PlannedRoute& route : routes)
    if (std::find(route.hops.begin(), route.hops.end(), net::Hop{stage, node}) != route.hops.end())
      microbatches.push_back(route.microbatch);
  std::sort(microbatches.begin(), microbatches.end());
  return microbatches;
}

nlohmann::json to_json(const Plan& plan) {
  nlohmann::json stage_of = nlohmann::json::object();
  for (const auto& [node, stages] : plan.stages_of) stage_of[node.hex()] = stages;
  nlohmann::json slots = nlohmann::json::object();
  for (const auto& [node, count] : plan.slots_of) slots[node.hex()] = count;
  return {{"epoch", plan.epoch},
          {"predicted_step_us", plan.predicted_step_us},
          {"stage_of", std::move(stage_of)},
          {"slots", std::move(slots)},
          {"paths", routes_to_json(plan.routes)},
          {"evaluations", routes_to_json(plan.evaluations)}};
}

Result<Plan> parse_plan(const nlohmann::json& json) {
  JsonReader reader("plan");
  Plan plan;
  plan.epoch = reader.natural(reader.member(json, "epoch"));
  // Not in plans stored by earlier versions.
  if (json.contains("predicted_step_us"))
    plan.predicted_step_us = static_cast<std::int64_t>(
        reader.natural(json["predicted_step_us"], std::numeric_limits<std::int64_t>::max()));
  std::set<std::uint32_t> held;
  for (const auto& [hex, list] : reader.object(reader.member(json, "stage_of")).items()) {
    std::vector<std::uint32_t>& stages = plan.stages_of[reader.key(hex)];
    for (const nlohmann::json& stage : reader.list(list)) stages.push_back(reader.natural32(stage));
    if (stages.empty() ||
        std::adjacent_find(stages.begin(), stages.end(), std::greater_equal<>()) != stages.end())
      reader.fail("the stages of node " + hex.substr(0, 4) + " are not ascending");
    held.insert(stages.begin(), stages.end());
  }
  if (held.empty() || *held.begin() != 0 || *held.rbegin() != held.size() - 1)
    reader.fail("a stage has no node");
  for (const auto& [hex, count] : reader.object(reader.member(json, "slots")).items()) {
    const net::NodeKey node = reader.key(hex);
    plan.slots_of[node] = reader.natural32(count);
    if (plan.slots_of[node] == 0) reader.fail("node " + node.short_name() + " has no slot");
  }
  for (const auto& [node, stages] : plan.stages_of)
    if (!plan.slots_of.contains(node)) reader.fail("node " + node.short_name() + " has no slots entry");
  if (plan.slots_of.size() != plan.stages_of.size()) reader.fail("slots name a node without a stage");
  plan.routes = read_routes(reader.member(json, "paths"), reader);
  plan.evaluations = read_routes(reader.member(json, "evaluations"), reader);
  if (!reader.ok()) return reader.status();
  check_routes(plan, plan.routes, "microbatch", reader);
  check_routes(plan, plan.evaluations, "evaluation", reader);
  if (!reader.ok()) return reader.status();
  return plan;
}

}  // namespace sidestep::scheduler

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

std::vector<net::NodeKey> nodes_with(const StagesByNode& stages_of, std::uint32_t stage) {
  std::vector<net::NodeKey> nodes;
  for (const auto& [node, stages] : stages_of)
    if (has_stage(stages, stage)) nodes.push_back(node);
  return nodes;
}

const std::vector<std::uint32_t>& stages_at(const StagesByNode& stages_of, const net::NodeKey& node) {
  static const std::vector<std::uint32_t> none;
  const auto found = stages_of.find(node);
  return found == stages_of.end() ? none : found->second;
}

nlohmann::json stages_to_json(const StagesByNode& stages_of) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [node, stages] : stages_of) json[node.hex()] = stages;
  return json;
}

StagesByNode read_stages(const nlohmann::json& json, JsonReader& reader) {
  StagesByNode stages_of;
  for (const auto& [hex, list] : reader.object(json).items()) {
    std::vector<std::uint32_t>& stages = stages_of[reader.key(hex)];
    for (const nlohmann::json& stage : reader.list(list)) stages.push_back(reader.natural32(stage));
    if (stages.empty() ||
        std::adjacent_find(stages.begin(), stages.end(), std::greater_equal<>()) != stages.end())
      reader.fail("the stages of node " + hex.substr(0, 4) + " are not ascending");
  }
  return stages_of;
}

void check_learners(const Plan& plan, JsonReader& reader) {
  for (const auto& [node, stages] : plan.learners)
    for (const std::uint32_t stage : stages)
      if (plan.holds(node, stage) || (plan.replicas(stage).empty() && !plan.is_out(stage)))
        reader.fail("node " + node.short_name() + " cannot learn stage " + std::to_string(stage) +
                    ": it holds it, or there is no such stage");
}

void check_mirrors(const Plan& plan, JsonReader& reader) {
  std::set<std::uint32_t> kept;
  for (const auto& [node, stages] : plan.mirrors)
    for (const std::uint32_t stage : stages)
      if (!plan.stages_of.contains(node) || plan.holds(node, stage) || stage == 0 ||
          stage >= plan.stage_count() || !kept.insert(stage).second)
        reader.fail(
            "node " + node.short_name() + " cannot keep the mirror of stage " + std::to_string(stage) +
            ": it has no part or holds the stage, another keeps one, or there is no such stage above 0");
  for (const std::uint32_t stage : plan.mirrored)
    if (!plan.is_out(stage) || !kept.contains(stage))
      reader.fail("stage " + std::to_string(stage) + " is not out, or has no mirror");
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

bool has_stage(const std::vector<std::uint32_t>& stages, std::uint32_t stage) {
  return std::binary_search(stages.begin(), stages.end(), stage);
}

std::string stage_list(const std::vector<std::uint32_t>& stages) {
  std::string text = stages.size() == 1 ? "stage " : "stages ";
  for (std::size_t i = 0; i < stages.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(stages[i]);
  return text;
}

std::uint32_t Plan::stage_count() const {
  std::uint32_t count = 0;
  for (const auto& [node, stages] : stages_of)
    for (const std::uint32_t stage : stages) count = std::max(count, stage + 1);
  return stages_out.empty() ? count : std::max(count, stages_out.back() + 1);
}

std::vector<net::NodeKey> Plan::replicas(std::uint32_t stage) const { return nodes_with(stages_of, stage); }

std::vector<net::NodeKey> Plan::learners_of(std::uint32_t stage) const { return nodes_with(learners, stage); }

std::optional<net::NodeKey> Plan::keeper_of(std::uint32_t stage) const {
  const std::vector<net::NodeKey> keepers = nodes_with(mirrors, stage);
  return keepers.empty() ? std::nullopt : std::optional(keepers.front());
}

bool Plan::keeps(const net::NodeKey& node, std::uint32_t stage) const {
  return has_stage(stages_at(mirrors, node), stage);
}

net::NodeKey Plan::lead_origin() const {
  const std::vector<net::NodeKey> origins = replicas(0);
  SIDESTEP_ASSERT(!origins.empty());
  return origins.front();
}

const std::vector<std::uint32_t>& Plan::stages(const net::NodeKey& node) const {
  return stages_at(stages_of, node);
}

const std::vector<std::uint32_t>& Plan::lessons(const net::NodeKey& node) const {
  return stages_at(learners, node);
}

const PlanPhase& Plan::phase(std::uint64_t step) const {
  SIDESTEP_ASSERT(!phases.empty());
  const auto next = std::find_if(phases.begin() + 1, phases.end(),
                                 [&](const PlanPhase& one) { return one.from_step > step; });
  return *(next - 1);
}

std::vector<std::uint32_t> Plan::visits(const net::NodeKey& node, std::uint32_t stage,
                                        std::uint64_t step) const {
  std::vector<std::uint32_t> microbatches;
  for (const PlannedRoute& route : phase(step).routes)
    if (std::find(route.hops.begin(), route.hops.end(), net::Hop{stage, node}) != route.hops.end())
      microbatches.push_back(route.microbatch);
  std::sort(microbatches.begin(), microbatches.end());
  return microbatches;
}

nlohmann::json to_json(const Plan& plan) {
  nlohmann::json slots = nlohmann::json::object();
  for (const auto& [node, count] : plan.slots_of) slots[node.hex()] = count;
  nlohmann::json phases = nlohmann::json::array();
  for (const PlanPhase& phase : plan.phases)
    phases.push_back({{"from_step", phase.from_step},
                      {"predicted_step_us", phase.predicted_step_us},
                      {"planned_wait_us", phase.planned_wait_us},
                      {"paths", routes_to_json(phase.routes)}});
  return {{"epoch", plan.epoch},
          {"stage_of", stages_to_json(plan.stages_of)},
          {"learners", stages_to_json(plan.learners)},
          {"stages_out", plan.stages_out},
          {"mirrors", stages_to_json(plan.mirrors)},
          {"mirrored", plan.mirrored},
          {"slots", std::move(slots)},
          {"phases", std::move(phases)},
          {"evaluations", routes_to_json(plan.evaluations)}};
}

Result<Plan> parse_plan(const nlohmann::json& json) {
  JsonReader reader("plan");
  Plan plan;
  plan.epoch = reader.natural(reader.member(json, "epoch"));
  plan.stages_of = read_stages(reader.member(json, "stage_of"), reader);
  plan.learners = read_stages(reader.member(json, "learners"), reader);
  std::set<std::uint32_t> held;
  for (const auto& [node, stages] : plan.stages_of) held.insert(stages.begin(), stages.end());
  // Plans stored by an earlier version do not say.
  if (json.contains("stages_out"))
    for (const nlohmann::json& entry : reader.list(json["stages_out"])) {
      const std::uint32_t stage = reader.natural32(entry);
      if (stage == 0 || (!plan.stages_out.empty() && stage <= plan.stages_out.back()) || held.contains(stage))
        reader.fail("stage " + std::to_string(stage) + " cannot be out: it is held, or out of order");
      plan.stages_out.push_back(stage);
    }
  plan.mirrors = read_stages(reader.member(json, "mirrors"), reader);
  for (const nlohmann::json& entry : reader.list(reader.member(json, "mirrored")))
    plan.mirrored.push_back(reader.natural32(entry));
  held.insert(plan.stages_out.begin(), plan.stages_out.end());
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
  for (const nlohmann::json& entry : reader.list(reader.member(json, "phases"))) {
    PlanPhase& phase = plan.phases.emplace_back();
    phase.from_step = reader.natural(reader.member(entry, "from_step"));
    phase.predicted_step_us = static_cast<std::int64_t>(
        reader.natural(reader.member(entry, "predicted_step_us"), std::numeric_limits<std::int64_t>::max()));
    // Plans stored by an earlier version do not say.
    if (entry.contains("planned_wait_us"))
      phase.planned_wait_us = static_cast<std::int64_t>(reader.natural(
          reader.member(entry, "planned_wait_us"), std::numeric_limits<std::int64_t>::max() / 4));
    phase.routes = read_routes(reader.member(entry, "paths"), reader);
  }
  plan.evaluations = read_routes(reader.member(json, "evaluations"), reader);
  if (!reader.ok()) return reader.status();
  if (plan.phases.empty() || plan.phases.front().from_step != 1) reader.fail("no routes for step 1");
  for (std::size_t i = 0; i < plan.phases.size(); ++i) {
    const PlanPhase& phase = plan.phases[i];
    if (i > 0 && phase.from_step <= plan.phases[i - 1].from_step)
      reader.fail("phases do not ascend: step " + std::to_string(phase.from_step) + " after step " +
                  std::to_string(plan.phases[i - 1].from_step));
    if (phase.routes.size() != plan.phases.front().routes.size())
      reader.fail("the phase of step " + std::to_string(phase.from_step) + " has " +
                  std::to_string(phase.routes.size()) + " microbatches, not " +
                  std::to_string(plan.phases.front().routes.size()));
    check_routes(plan, phase.routes, "microbatch", reader);
  }
  check_routes(plan, plan.evaluations, "evaluation", reader);
  check_learners(plan, reader);
  check_mirrors(plan, reader);
  if (!reader.ok()) return reader.status();
  return plan;
}

}  // namespace sidestep::scheduler

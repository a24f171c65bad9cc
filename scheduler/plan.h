// A plan: which node holds which stage, and which way each microbatch goes. Values; made by the
// planner, numbered by the scheduler (epoch), sent to nodes as JSON and kept in the run record.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "net/messages.h"
#include "net/status.h"

namespace sidestep::scheduler {

struct PlannedRoute {
  std::uint32_t microbatch = 0;
  std::vector<net::Hop> hops;  // stage 0 at the origin first
  bool operator==(const PlannedRoute&) const = default;
};

// What the steps from one on do, up to those of the next phase.
struct PlanPhase {
  std::uint64_t from_step = 1;
  std::vector<PlannedRoute> routes;    // training microbatches, in order of injection
  std::int64_t predicted_step_us = 0;  // by the cost model; 0: not known
  std::int64_t planned_wait_us = 0;    // the longest that a forward past its origin waits, by the same
  bool operator==(const PlanPhase&) const = default;
};

// Ascending stages, none empty.
using StagesByNode = std::map<net::NodeKey, std::vector<std::uint32_t>>;

// Whether the ascending list has the stage.
bool has_stage(const std::vector<std::uint32_t>& stages, std::uint32_t stage);
// "stage 2", "stages 2, 3": for people.
std::string stage_list(const std::vector<std::uint32_t>& stages);

struct Plan {
  std::uint64_t epoch = 0;
  StagesByNode stages_of;
  std::map<net::NodeKey, std::uint32_t> slots_of;
  // Nodes that are given the averages of stages which they do not hold yet, or rebuild one that is out;
  // nobody waits for them.
  StagesByNode learners;
  std::vector<std::uint32_t> stages_out;  // nobody holds them: lost, or being rebuilt; ascending
  // Whose memory has the mirror of which stages, as of some commit: at most one node for each, which does not
  // hold the stage.
  StagesByNode mirrors;
  std::vector<std::uint32_t> mirrored;    // of those that are out: put back out of their mirrors; ascending
  std::vector<PlanPhase> phases;          // ascending; the first is from step 1
  std::vector<PlannedRoute> evaluations;  // validation microbatches, in order
  bool operator==(const Plan&) const = default;

  // Those that are out counted.
  std::uint32_t stage_count() const;
  // Nodes that hold `stage`, in key order.
  std::vector<net::NodeKey> replicas(std::uint32_t stage) const;
  // Those that learn it, in key order.
  std::vector<net::NodeKey> learners_of(std::uint32_t stage) const;
  bool is_out(std::uint32_t stage) const { return has_stage(stages_out, stage); }
  std::optional<net::NodeKey> keeper_of(std::uint32_t stage) const;
  bool keeps(const net::NodeKey& node, std::uint32_t stage) const;
  // Stage-0 node with the lowest key. Precondition: some node holds stage 0.
  net::NodeKey lead_origin() const;
  // What the node holds, or learns, ascending; empty for a node that the plan does without.
  const std::vector<std::uint32_t>& stages(const net::NodeKey& node) const;
  const std::vector<std::uint32_t>& lessons(const net::NodeKey& node) const;
  bool holds(const net::NodeKey& node, std::uint32_t stage) const { return has_stage(stages(node), stage); }
  bool learns(const net::NodeKey& node, std::uint32_t stage) const { return has_stage(lessons(node), stage); }
  // The phase that the step belongs to; that of step 1 for step 0.
  const PlanPhase& phase(std::uint64_t step) const;
  // Training microbatches of the step whose route visits `stage` at `node`, ascending.
  std::vector<std::uint32_t> visits(const net::NodeKey& node, std::uint32_t stage, std::uint64_t step) const;
};

nlohmann::json to_json(const Plan& plan);
// Checks shape and consistency: phases ascend, each has all microbatches, routes start at stage 0, name known
// nodes that hold the stage, visit a stage at most once, microbatches 0..n-1 each once.
Result<Plan> parse_plan(const nlohmann::json& json);

}  // namespace sidestep::scheduler

// A plan of an instance: which node holds which stage, and the route of each microbatch, by index of the
// instance's nodes. Values.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "net/status.h"
#include "scheduler/planner/instance.h"

namespace sidestep::scheduler {

struct PathHop {
  std::uint32_t stage = 0;
  std::uint32_t node = 0;
  bool operator==(const PathHop&) const = default;
};

struct Path {
  std::uint32_t microbatch = 0;
  std::vector<PathHop> hops;  // stage 0 at the origin first
  bool operator==(const Path&) const = default;
};

struct PathPlan {
  std::vector<std::vector<std::uint32_t>> stage_of;  // by node, ascending; empty: holds none
  std::vector<std::uint32_t> slots;                  // by node
  std::vector<Path> paths;                           // in order of injection
  bool operator==(const PathPlan&) const = default;
};

// `{stage_of: {id: stage | [stages]}, slots_of: {id: slots}, paths: [{microbatch, hops: [...]}]}`. A hop is a
// node's id where the node holds one stage, else [stage, id].
nlohmann::ordered_json to_json(const PathPlan& plan, const Instance& instance);

// Errors: all problems at once, one a line, each with its path in the JSON ("paths[3].hops[1]: no node
// \"77\""). `slots_of` may be missing: then each node has the slots that the instance gives it. Whether the
// plan keeps the instance's rules is the evaluator's to say.
Result<PathPlan> parse_path_plan(const nlohmann::json& json, const Instance& instance,
                                 const std::string& source);

}  // namespace sidestep::scheduler

// Instances as JSON (design.md, Cost model; docs/planning.md has every key).
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "net/status.h"
#include "scheduler/planner/instance.h"

namespace sidestep::scheduler {

// Errors: all problems at once, one a line, each with its path in the JSON: `FILE: nodes[3].slots: value 0 is
// too small, at least 1 allowed`, `FILE: transfer_s[2]: 19 entries, 20 nodes`; unknown keys with the nearest
// known one.
Result<Instance> parse_instance(const nlohmann::json& json, const std::string& source);
// Reads and parses; a missing file or one that is not JSON is a Status with path, line and column.
Result<Instance> load_instance(const std::string& path);
// Complete; parse_instance of it gives the same.
nlohmann::ordered_json to_json(const Instance& instance);
// A node's id as it was written: a number or a string.
nlohmann::ordered_json id_json(const InstanceNode& node);

}  // namespace sidestep::scheduler

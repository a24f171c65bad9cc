// The picture of a step that was trained, as SVG. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "net/status.h"

namespace sidestep::cli {

// The whole file, of the scheduler's answer to "times" (scheduler/step_report.h): a Gantt chart with two
// lanes for each node, what it did and below that what the cost model says. Errors: internal, an answer that
// contradicts itself. Throws nlohmann::json::exception where it lacks a field.
Result<std::string> draw_step(const nlohmann::json& times);

}  // namespace sidestep::cli

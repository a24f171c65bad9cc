// One question to the scheduler, one answer on standard output.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "daemon/cli/flags.h"

namespace sidestep::cli {

// Asks, and shows the answer as JSON or as `show` makes it. Returns an Exit.
int ask_once(const OperatorFlags& flags, const std::string& verb, const nlohmann::json& body,
             const std::function<std::string(const nlohmann::json&)>& show);

}  // namespace sidestep::cli

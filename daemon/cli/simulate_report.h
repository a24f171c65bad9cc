// What `sidestep simulate` found, for people and as JSON. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "daemon/simulator/simulation.h"

namespace sidestep::cli {

// Whether the job was done, or the simulation ended before the job did.
bool went_well(const sim::SimReport& report);

// Figures, the shares of the time, the plans, and what happened: the first lines of it where it is long.
std::string simulation_page(const sim::SimReport& report);
nlohmann::ordered_json simulation_json(const sim::SimReport& report);

}  // namespace sidestep::cli

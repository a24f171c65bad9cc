// What `status` and `top` show, asked of the scheduler at one time.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "daemon/driver/client.h"
#include "net/status.h"

namespace sidestep::cli {

// The answer to "status" with "plan": true, and beside it "changes": [Line], the newest of the scheduler's
// own log. An empty `job`: the one that runs, or the newest. Errors: as Client::ask.
Result<nlohmann::json> ask_snapshot(driver::Client& client, const std::string& job,
                                    std::int64_t limit_us = 10'000'000);

}  // namespace sidestep::cli

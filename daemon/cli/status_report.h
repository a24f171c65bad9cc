// How a swarm and its job are shown, by `status` all of it and by `top` as much as the terminal has room for.
// Pure, over the JSON of scheduler/requests.h: an answer to "status" with "plan": true, and beside it
// "changes", the newest lines of the scheduler's own log, and for `top` "jobs".
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>

namespace sidestep::cli {

std::string status_page(const nlohmann::json& snapshot);

struct TopSize {
  std::size_t columns = 0;  // 0: as many as it takes
  std::size_t rows = 0;     // 0: as many as it takes
};

// `notice` is shown at the top: that the scheduler does not answer, and since when. No line is longer,
// counted in characters, and there are no more lines.
std::string top_page(const nlohmann::json& snapshot, const TopSize& size, const std::string& notice = "");

// The text, or as many of its characters as there is room for, the last one an ellipsis.
std::string cut(const std::string& text, std::size_t columns);

}  // namespace sidestep::cli

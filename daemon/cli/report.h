// How things are shown to people: numbers, durations, tables, log lines, the one line about a job.
// Pure functions over the JSON of scheduler/requests.h; a missing or null field shows as "-".
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace sidestep::cli {

using Row = std::vector<std::string>;

// Columns padded to their widest cell, two spaces between them, a line end after each row.
std::string table(const Row& head, const std::vector<Row>& rows);

// 33.5738 with 2 decimals -> "33.57".
std::string fixed(double number, int decimals);
// 7.4 -> "7s", 100 -> "1m40s", 7300 -> "2h01m".
std::string duration(double seconds);
// 18312 -> "18.3k", 312 -> "312".
std::string amount(double number);
// "10.2 GiB".
std::string bytes(std::uint64_t count);
// Local time, "2026-01-31 10:11:12.123"; "-" for 0.
std::string local_time(std::int64_t wall_us);

// Fields of a reply; nothing when missing, null or of another type.
std::optional<double> number_in(const nlohmann::json& object, const char* key);
std::string text_in(const nlohmann::json& object, const char* key);

// "step 120/400  loss 2.3140  validation 2.4010  18.3k tokens/s  ETA 1m40s" of a Summary.
std::string progress_line(const nlohmann::json& summary);
// "10:11:12.123 INFO    node-3/stage 2  text" of a Line.
std::string log_line(const nlohmann::json& line);
// "job quickstart-1 failed: REASON (last commit: step 12 of 400)" of an ended job's Summary.
std::string outcome_line(const nlohmann::json& summary);
bool has_ended(const nlohmann::json& summary);

std::string jobs_table(const nlohmann::json& jobs);
std::string nodes_table(const nlohmann::json& nodes);
// Who may come, and the invites.
std::string admitted_table(const nlohmann::json& admitted);
std::string invites_table(const nlohmann::json& invites);
// "431 MiB of 5.9 GiB (439 MiB planned)" of a Node; without a job what the daemon may use.
std::string memory_of(const nlohmann::json& node);
// "alive", "silent 2s" of a Node.
std::string state_of(const nlohmann::json& node);
// "1,4" of a Node; "-" where it holds none.
std::string stages_of(const nlohmann::json& node);

}  // namespace sidestep::cli

#include "daemon/cli/report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <ctime>

#include "net/utf8.h"

namespace sidestep::cli {
namespace {

template <class... Arguments>
std::string format(const char* pattern, Arguments... arguments) {
  std::array<char, 128> text{};
  std::snprintf(text.data(), text.size(), pattern, arguments...);
  return text.data();
}

std::string clock_time(std::int64_t wall_us, const char* pattern) {
  const std::time_t seconds = static_cast<std::time_t>(wall_us / 1'000'000);
  std::tm parts{};
  localtime_r(&seconds, &parts);
  std::array<char, 64> text{};
  std::strftime(text.data(), text.size(), pattern, &parts);
  return text.data() + format(".%03d", static_cast<int>(wall_us / 1000 % 1000));
}

std::string or_dash(std::string text) { return text.empty() ? "-" : text; }

std::string steps_done(const nlohmann::json& summary) {
  const auto commit = number_in(summary, "commit");
  const auto steps = number_in(summary, "steps");
  // A step of validation alone may follow the last update.
  const double done = std::min(commit.value_or(0), steps.value_or(0));
  return format("%.0f/%.0f", done, steps.value_or(0));
}

std::string decimal(std::optional<double> value) { return value ? format("%.4f", *value) : "-"; }

// A loss before the first commit is the zero of a fresh row, not a loss.
std::optional<double> loss_of(const nlohmann::json& summary) {
  if (number_in(summary, "commit").value_or(0) < 1) return std::nullopt;
  return number_in(summary, "loss");
}

}  // namespace

std::string table(const Row& head, const std::vector<Row>& rows) {
  std::vector<std::size_t> widths(head.size(), 0);
  const auto widen = [&](const Row& row) {
    for (std::size_t i = 0; i < row.size() && i < widths.size(); ++i)
      widths[i] = std::max(widths[i], row[i].size());
  };
  widen(head);
  for (const Row& row : rows) widen(row);
  std::string text;
  const auto print = [&](const Row& row) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] - row[i].size() + 2, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  print(head);
  for (const Row& row : rows) print(row);
  return text;
}

std::string fixed(double number, int decimals) { return format("%.*f", decimals, number); }

std::string duration(double seconds) {
  const auto whole = static_cast<long long>(std::llround(std::max(seconds, 0.0)));
  if (whole < 60) return format("%llds", whole);
  if (whole < 3600) return format("%lldm%02llds", whole / 60, whole % 60);
  return format("%lldh%02lldm", whole / 3600, whole / 60 % 60);
}

std::string amount(double number) {
  if (number >= 1e6) return format("%.1fM", number / 1e6);
  if (number >= 1e3) return format("%.1fk", number / 1e3);
  return format("%.0f", number);
}

std::string bytes(std::uint64_t count) {
  const auto value = static_cast<double>(count);
  if (value >= 1024.0 * 1024 * 1024) return format("%.1f GiB", value / (1024.0 * 1024 * 1024));
  return format("%.1f MiB", value / (1024.0 * 1024));
}

std::string local_time(std::int64_t wall_us) {
  return wall_us == 0 ? "-" : clock_time(wall_us, "%Y-%m-%d %H:%M:%S");
}

std::optional<double> number_in(const nlohmann::json& object, const char* key) {
  if (!object.is_object()) return std::nullopt;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

std::string text_in(const nlohmann::json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return "";
  return found->get<std::string>();
}

std::string progress_line(const nlohmann::json& summary) {
  std::string line = "step " + steps_done(summary);
  if (const auto loss = loss_of(summary)) line += "  loss " + decimal(loss);
  if (const auto validation = number_in(summary, "validation_loss"))
    line += "  validation " + decimal(validation);
  if (const auto speed = number_in(summary, "tokens_per_s"); speed && *speed > 0)
    line += "  " + amount(*speed) + " tokens/s";
  if (const auto skipped = number_in(summary, "skipped_updates"); skipped && *skipped > 0)
    line += format("  %.0f without update", *skipped);
  if (const auto eta = number_in(summary, "eta_s"); eta && !has_ended(summary))
    line += "  ETA " + duration(*eta);
  return line;
}

std::string log_line(const nlohmann::json& line) {
  std::string level = text_in(line, "level");
  std::transform(level.begin(), level.end(), level.begin(), [](unsigned char c) { return std::toupper(c); });
  std::string source = text_in(line, "nickname");
  if (source.empty()) source = text_in(line, "node").substr(0, 4);
  if (const auto stage = number_in(line, "stage")) source += format("/stage %.0f", *stage);
  const auto time = static_cast<std::int64_t>(number_in(line, "time_us").value_or(0));
  return clock_time(time, "%H:%M:%S") + " " + format("%-7s ", level.c_str()) + source + "  " +
         text_in(line, "text");
}

bool has_ended(const nlohmann::json& summary) {
  const std::string state = text_in(summary, "state");
  return state == "done" || state == "failed" || state == "cancelled";
}

std::string outcome_line(const nlohmann::json& summary) {
  const std::string state = text_in(summary, "state");
  const std::string reason = text_in(summary, "reason");
  std::string line = "job " + text_in(summary, "id") + " " + state;
  if (state == "done") {
    const double seconds =
        (number_in(summary, "ended_us").value_or(0) - number_in(summary, "started_us").value_or(0)) / 1e6;
    line += " after " + duration(seconds) + ": " + progress_line(summary);
    return reason.empty() ? line : line + "; warning: " + reason;
  }
  if (!reason.empty()) line += ": " + reason;
  if (reason.find("last commit") != std::string::npos) return line;
  const auto commit = number_in(summary, "commit");
  if (!commit) return line + " (nothing was committed)";
  return line + format(" (last commit: step %.0f of %.0f)", *commit, number_in(summary, "steps").value_or(0));
}

// One line of a table; `status` shows all of it.
std::string shortened(const std::string& reason) {
  constexpr std::size_t shown_max = 90;
  const std::string line = reason.substr(0, reason.find('\n'));
  if (line.size() == reason.size() && line.size() <= shown_max) return line;
  return net::repaired_utf8(line.substr(0, shown_max)) + " ...";
}

std::string jobs_table(const nlohmann::json& jobs) {
  std::vector<Row> rows;
  for (const auto& job : jobs) {
    const auto submitted = static_cast<std::int64_t>(number_in(job, "submitted_us").value_or(0));
    rows.push_back({text_in(job, "id"), text_in(job, "state"), steps_done(job), decimal(loss_of(job)),
                    decimal(number_in(job, "validation_loss")), local_time(submitted).substr(0, 19),
                    shortened(text_in(job, "reason"))});
  }
  return table({"JOB", "STATE", "STEP", "LOSS", "VALIDATION", "SUBMITTED", "REASON"}, rows);
}

std::string memory_of(const nlohmann::json& node) {
  const auto bytes_in = [&](const char* key) {
    return static_cast<std::uint64_t>(number_in(node, key).value_or(0));
  };
  const std::string limit = bytes(bytes_in("memory_bytes"));
  const std::uint64_t used = bytes_in("memory_used_bytes"), planned = bytes_in("memory_planned_bytes");
  return (used > 0 ? bytes(used) + " of " : "") + limit +
         (planned > 0 ? " (" + bytes(planned) + " planned)" : "");
}

std::string state_of(const nlohmann::json& node) {
  const std::string state = text_in(node, "state");
  if (state != "silent") return state;
  return state + " " + duration(number_in(node, "silent_ms").value_or(0) / 1000);
}

std::string stages_of(const nlohmann::json& node) {
  std::string stages;
  for (const auto& stage : node.value("stages", nlohmann::json::array()))
    stages += (stages.empty() ? "" : ",") + stage.dump();
  return or_dash(stages);
}

std::string nodes_table(const nlohmann::json& nodes) {
  std::vector<Row> rows;
  for (const auto& node : nodes) {
    rows.push_back({text_in(node, "nickname"), text_in(node, "key").substr(0, 8), text_in(node, "address"),
                    text_in(node, "device"), format("%.0f", number_in(node, "threads").value_or(0)),
                    memory_of(node), state_of(node), or_dash(text_in(node, "job")), stages_of(node),
                    text_in(node, "activity")});
  }
  return table(
      {"NODE", "KEY", "ADDRESS", "DEVICE", "THREADS", "MEMORY", "STATE", "JOB", "STAGES", "ACTIVITY"}, rows);
}

std::string admitted_table(const nlohmann::json& admitted) {
  std::vector<Row> rows;
  for (const auto& entry : admitted) {
    const std::string state = entry.value("revoked", false) ? "revoked"
                              : entry.value("alive", false) ? "alive"
                                                            : "admitted";
    const auto since = static_cast<std::int64_t>(number_in(entry, "wall_us").value_or(0));
    rows.push_back({or_dash(text_in(entry, "nickname")), text_in(entry, "role"), state,
                    local_time(since).substr(0, 19), or_dash(text_in(entry, "by")), text_in(entry, "key")});
  }
  return table({"NAME", "ROLE", "STATE", "SINCE", "BY", "KEY"}, rows);
}

std::string invites_table(const nlohmann::json& invites) {
  std::vector<Row> rows;
  for (const auto& entry : invites) {
    const auto time = [&](const char* key) {
      return local_time(static_cast<std::int64_t>(number_in(entry, key).value_or(0))).substr(0, 19);
    };
    std::string user = text_in(entry, "used_by").substr(0, 8);
    if (!user.empty() && !text_in(entry, "used_nickname").empty())
      user = text_in(entry, "used_nickname") + " (" + user + ")";
    rows.push_back({text_in(entry, "key").substr(0, 8), text_in(entry, "role"),
                    or_dash(text_in(entry, "nickname")), text_in(entry, "state"), time("made_us"),
                    time("expires_us"), time("closed_us"), or_dash(user)});
  }
  return table({"INVITE", "ROLE", "FOR", "STATE", "MADE", "EXPIRES", "ENDED", "USED BY"}, rows);
}

}  // namespace sidestep::cli

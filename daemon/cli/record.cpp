// sidestep record: the run record of a job, for people, as JSON lines, or as a file for `solo --replay`.
#include <cstdio>
#include <fstream>
#include <memory>

#include "daemon/cli/commands.h"
#include "daemon/cli/flags.h"
#include "daemon/cli/operator_config.h"
#include "daemon/cli/report.h"

namespace sidestep::cli {
namespace {

constexpr std::int64_t page_steps = 100;

struct RecordFlags : OperatorFlags {
  std::string job;
  std::int64_t step = -1;
  std::string out;
};

std::string number(const nlohmann::json& step, const char* key, const char* pattern) {
  const auto value = number_in(step, key);
  if (!value) return "-";
  char text[64];
  std::snprintf(text, sizeof text, pattern, *value);
  return text;
}

std::string milliseconds(const nlohmann::json& step) {
  return std::to_string(static_cast<std::int64_t>(number_in(step, "duration_us").value_or(0)) / 1000) + " ms";
}

Row row_of(const nlohmann::json& step) {
  return {number(step, "step", "%.0f"),
          number(step, "loss", "%.6f"),
          number(step, "validation_loss", "%.6f"),
          number(step, "tokens", "%.0f"),
          milliseconds(step),
          std::to_string(step.value("routes", nlohmann::json::array()).size()),
          number(step, "view", "%.0f"),
          number(step, "epoch", "%.0f")};
}

// Every page of the record, handed to `take` step by step.
Status read_record(driver::Client& client, const RecordFlags& flags,
                   const std::function<void(const nlohmann::json& header)>& begin,
                   const std::function<void(const nlohmann::json& step)>& take) {
  nlohmann::json body = {{"job", flags.job}, {"limit", page_steps}};
  if (flags.step >= 0) body["step"] = flags.step;
  for (bool first = true;; first = false) {
    const auto reply = client.ask("record", body);
    if (!reply.ok()) return reply.status();
    if (first) begin(reply.value().at("header"));
    const auto& steps = reply.value().at("steps");
    for (const auto& step : steps) take(step);
    if (flags.step >= 0 && steps.empty())
      return Status::not_found("job " + flags.job + " has no step " + std::to_string(flags.step) +
                               " in its record");
    if (flags.step >= 0 || steps.size() < static_cast<std::size_t>(page_steps)) return {};
    body["after"] = reply.value().at("next");
  }
}

int show_record(const RecordFlags& flags) {
  auto client = connect(flags);
  if (!client.ok()) return fail(client.status());
  const bool lines = flags.json && flags.out.empty();
  std::ofstream file;
  if (!flags.out.empty()) {
    file.open(flags.out, std::ios::trunc);
    if (!file) return fail(Status::io(flags.out + ": cannot be written"));
  }
  std::vector<Row> rows;
  std::size_t steps = 0;
  const auto keep = [&](const nlohmann::json& line) {
    if (file.is_open()) file << line.dump() << "\n";
    if (lines) std::printf("%s\n", line.dump().c_str());
  };
  const Status status = read_record(*client.value(), flags, keep, [&](const nlohmann::json& step) {
    keep(step);
    ++steps;
    if (!file.is_open() && !lines) rows.push_back(row_of(step));
  });
  if (!status.ok()) return fail(status);
  if (file.is_open()) {
    file.close();
    if (!file) return fail(Status::io(flags.out + ": cannot be written"));
    if (flags.json)
      std::printf("%s\n", nlohmann::json{{"file", flags.out}, {"steps", steps}}.dump().c_str());
    else
      std::printf("%zu steps in %s; replay them: sidestep solo --replay %s\n", steps, flags.out.c_str(),
                  flags.out.c_str());
  } else if (!lines) {
    std::printf(
        "%s",
        table({"STEP", "LOSS", "VALIDATION", "TOKENS", "TIME", "ROUTES", "VIEW", "EPOCH"}, rows).c_str());
  }
  return exit_ok;
}

}  // namespace

void add_record(CLI::App& app, Chosen& chosen) {
  auto flags = std::make_shared<RecordFlags>();
  CLI::App* command = add_command(
      app, "record", "Show the run record: what was computed where, in which order, at each step.",
      "sidestep record quickstart-1 --out run/quickstart.record");
  command->add_option("job", flags->job, "Job")->required()->type_name("JOB");
  command->add_option("--step", flags->step, "This step only; 0 is the initial weights")
      ->check(whole_number(0, 100'000'001));
  command->add_option("--out", flags->out, "Write the record to this file, for `solo --replay`")
      ->type_name("FILE");
  add_operator_flags(*command, *flags);
  command->callback([flags, &chosen] { chosen = [flags] { return show_record(*flags); }; });
}

}  // namespace sidestep::cli

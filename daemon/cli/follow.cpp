#include "daemon/cli/follow.h"

#include <unistd.h>

#include <cmath>

#include "daemon/cli/app.h"
#include "daemon/cli/flags.h"
#include "daemon/cli/operator_config.h"
#include "daemon/cli/report.h"
#include "net/clock.h"

namespace sidestep::cli {
namespace {

constexpr std::int64_t log_lines_at_once = 500;

// Warnings and errors of the job that have come since `after`; the new cursor.
Result<std::uint64_t> print_complaints(PatientClient& client, const std::string& job, std::uint64_t after,
                                       ProgressPrinter& printer) {
  while (true) {
    const auto logs = client.ask(
        "logs", {{"job", job}, {"level", "warning"}, {"after", after}, {"limit", log_lines_at_once}});
    if (!logs.ok()) return logs.status();
    const auto& lines = logs.value().at("lines");
    for (const auto& line : lines) printer.print(log_line(line));
    after = logs.value().at("next").get<std::uint64_t>();
    if (lines.size() < static_cast<std::size_t>(log_lines_at_once)) return after;
  }
}

}  // namespace

void ProgressPrinter::show(const nlohmann::json& summary, std::int64_t now_us) {
  std::string text = progress_line(summary);
  if (text_in(summary, "state") != "running") text = text_in(summary, "state") + "  " + text;
  if (text == shown_) return;
  if (terminal_) {
    std::fprintf(output_, "\r\033[K%s", text.c_str());
    line_open_ = true;
  } else {
    if (number_in(summary, "commit").value_or(0) < 1) return;
    if (shown_at_us_ != 0 && now_us - shown_at_us_ < plain_every_us) {
      return;
    }
    std::fprintf(output_, "%s\n", text.c_str());
    shown_at_us_ = now_us;
  }
  shown_ = text;
  std::fflush(output_);
}

void ProgressPrinter::print(const std::string& line) {
  if (line_open_) std::fprintf(output_, "\r\033[K");
  std::fprintf(output_, "%s\n", line.c_str());
  line_open_ = false;
  shown_.clear();
  std::fflush(output_);
}

void ProgressPrinter::end_line() {
  if (line_open_) std::fprintf(output_, "\n");
  line_open_ = false;
}

Result<nlohmann::json> PatientClient::ask(const std::string& verb, const nlohmann::json& body) {
  std::int64_t away_since_us = 0;
  while (true) {
    auto answer = client_.ask(verb, body);
    if (answer.ok() || answer.status().code() != Code::unavailable || interrupted()) {
      if (away_since_us != 0 && answer.ok()) std::fprintf(stderr, "the scheduler is back\n");
      return answer;
    }
    const std::int64_t now = net::monotonic_us();
    if (away_since_us == 0) {
      away_since_us = now;
      std::fprintf(stderr, "%s; the job goes on without it, trying again for %s\n",
                   answer.status().message().c_str(),
                   duration(static_cast<double>(away_limit_us_) / 1e6).c_str());
    } else if (now - away_since_us > away_limit_us_) {
      return answer;
    }
    client_.idle(follow_poll_us);
  }
}

int follow_job(driver::Client& client, const std::string& job, bool json) {
  PatientClient patient(client);
  ProgressPrinter printer(stdout, !json && isatty(STDOUT_FILENO) == 1);
  std::uint64_t after = 0;
  nlohmann::json last;
  while (!interrupted()) {
    const auto status = patient.ask("status", {{"job", job}});
    if (!status.ok()) {
      if (interrupted()) break;
      return fail(status.status());
    }
    const nlohmann::json& summary = status.value().at("job");
    if (!json) {
      const auto next = print_complaints(patient, job, after, printer);
      if (!next.ok()) {
        if (interrupted()) break;
        return fail(next.status());
      }
      after = next.value();
      if (!has_ended(summary)) printer.show(summary, net::monotonic_us());
    } else if (summary != last) {
      std::printf("%s\n", summary.dump().c_str());
      std::fflush(stdout);
      last = summary;
    }
    if (has_ended(summary)) {
      if (!json) printer.print(outcome_line(summary));
      return text_in(summary, "state") == "done" ? exit_ok : exit_failed;
    }
    patient.idle(follow_poll_us);
  }
  if (!json) printer.print("");
  std::fprintf(stderr, "job %s goes on; `sidestep logs -f %s` follows it, `sidestep cancel %s` ends it\n",
               job.c_str(), job.c_str(), job.c_str());
  return exit_ok;
}

}  // namespace sidestep::cli

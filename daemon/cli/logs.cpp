// sidestep logs: what every daemon logged, in the order in which the scheduler stored it.
#include <cstdio>
#include <memory>

#include "daemon/cli/commands.h"
#include "daemon/cli/flags.h"
#include "daemon/cli/follow.h"
#include "daemon/cli/operator_config.h"
#include "daemon/cli/report.h"

namespace sidestep::cli {
namespace {

constexpr std::int64_t page_lines = 1000;

struct LogFlags : OperatorFlags {
  std::string job;
  std::string node;
  std::string level = "info";
  std::int64_t tail = 0;
  bool follow = false;
};

int show_logs(const LogFlags& flags) {
  auto client = connect(flags);
  if (!client.ok()) return fail(client.status());
  if (flags.follow) catch_interrupts();
  nlohmann::json body = {{"level", flags.level}, {"limit", page_lines}};
  if (!flags.job.empty()) body["job"] = flags.job;
  if (!flags.node.empty()) body["node"] = flags.node;
  if (flags.tail > 0) {
    body["tail"] = true;
    body["limit"] = flags.tail;
  }
  PatientClient patient(*client.value());
  while (!interrupted()) {
    // Without -f nobody expects this to wait for a scheduler that is away.
    const auto reply = flags.follow ? patient.ask("logs", body) : client.value()->ask("logs", body);
    if (!reply.ok()) {
      if (interrupted()) break;
      return fail(reply.status());
    }
    const auto& lines = reply.value().at("lines");
    for (const auto& line : lines)
      std::printf("%s\n", flags.json ? line.dump().c_str() : log_line(line).c_str());
    std::fflush(stdout);
    const bool more = !body.contains("tail") && lines.size() >= static_cast<std::size_t>(page_lines);
    body["after"] = reply.value().at("next");
    body["limit"] = page_lines;
    body.erase("tail");
    if (more) continue;
    if (!flags.follow || reply.value().value("ended", false)) return exit_ok;
    patient.idle(follow_poll_us);
  }
  return exit_ok;
}

}  // namespace

void add_logs(CLI::App& app, Chosen& chosen) {
  auto flags = std::make_shared<LogFlags>();
  CLI::App* command =
      add_command(app, "logs", "Show what the daemons logged: time, level, node and stage, text.",
                  "sidestep logs -f quickstart-1 --node node-2 --level warning");
  command->add_option("job", flags->job, "Job; without it, everything")->type_name("JOB");
  command->add_flag("-f,--follow", flags->follow,
                    "Go on until the job has ended; without a job, until Ctrl-C");
  command->add_option("--node", flags->node, "Of this node only: nickname or start of its key")
      ->type_name("NODE");
  command->add_option("--level", flags->level, "At least this level")
      ->check(one_of({"debug", "info", "warning", "error"}))
      ->capture_default_str();
  command->add_option("--tail", flags->tail, "Begin with the last lines instead of the first")
      ->check(whole_number(1, page_lines));
  add_operator_flags(*command, *flags);
  command->callback([flags, &chosen] { chosen = [flags] { return show_logs(*flags); }; });
}

}  // namespace sidestep::cli

// sidestep status: a job, its plan and its nodes as they are now, or its last step as a picture.
#include <cstdio>
#include <memory>

#include "daemon/cli/commands.h"
#include "daemon/cli/drawing/step_drawing.h"
#include "daemon/cli/flags.h"
#include "daemon/cli/operator_config.h"
#include "daemon/cli/snapshot.h"
#include "daemon/cli/status_report.h"
#include "daemon/data/atomic_output.h"

namespace sidestep::cli {
namespace {

struct StatusFlags : OperatorFlags {
  std::string job;
  std::string svg;
};

Status draw(driver::Client& client, const StatusFlags& flags) {
  nlohmann::json body = nlohmann::json::object();
  if (!flags.job.empty()) body["job"] = flags.job;
  const auto times = client.ask("times", body);
  if (!times.ok()) return times.status();
  const auto picture = draw_step(times.value());
  if (!picture.ok()) return picture.status();
  return daemon::write_file(flags.svg, picture.value());
}

int show_status(const StatusFlags& flags) {
  const auto client = connect(flags);
  if (!client.ok()) return fail(client.status());
  if (!flags.svg.empty())
    if (const Status drawn = draw(*client.value(), flags); !drawn.ok()) return fail(drawn);
  const auto snapshot = ask_snapshot(*client.value(), flags.job);
  if (!snapshot.ok()) return fail(snapshot.status());
  std::printf("%s",
              flags.json ? (snapshot.value().dump(2) + "\n").c_str() : status_page(snapshot.value()).c_str());
  return exit_ok;
}

}  // namespace

void add_status(CLI::App& app, Chosen& chosen) {
  auto flags = std::make_shared<StatusFlags>();
  CLI::App* command =
      add_command(app, "status", "Show a job, its plan, what it waits for, and all nodes and links.",
                  "sidestep status quickstart-1 --svg step.svg");
  command->add_option("job", flags->job, "Job; without it the one that runs, or the newest")
      ->type_name("JOB");
  command->add_option("--svg", flags->svg, "Draw the last step that was timed, and beside it its prediction")
      ->type_name("FILE");
  add_operator_flags(*command, *flags);
  command->callback([flags, &chosen] { chosen = [flags] { return show_status(*flags); }; });
}

}  // namespace sidestep::cli

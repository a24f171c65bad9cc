// sidestep submit: checks the job file here, so that a bad one is refused even without a scheduler.
#include <cstdio>
#include <filesystem>
#include <memory>

#include "daemon/cli/commands.h"
#include "daemon/cli/flags.h"
#include "daemon/cli/follow.h"
#include "daemon/cli/operator_config.h"
#include "scheduler/job.h"
#include "scheduler/options.h"

namespace sidestep::cli {
namespace {

struct SubmitFlags : OperatorFlags {
  std::string file;
  std::string resume;
  bool follow = false;
};

int submit(const SubmitFlags& flags) {
  auto spec = scheduler::load_json_file(flags.file);
  if (!spec.ok()) return fail(spec.status());
  // The folder is the nodes': it need not be here.
  if (!flags.resume.empty() && spec.value().is_object())
    spec.value()["resume"] = {
        {"directory", std::filesystem::absolute(flags.resume).lexically_normal().string()}};
  if (const auto job = scheduler::parse_job(spec.value(), flags.file); !job.ok()) {
    // Every problem is a line that already names the file.
    std::fprintf(stderr, "%s\n", job.status().message().c_str());
    return exit_failed;
  }
  auto client = connect(flags);
  if (!client.ok()) return fail(client.status());
  if (flags.follow) catch_interrupts();
  const auto reply = client.value()->ask("submit", {{"spec", spec.value()}, {"source", flags.file}});
  if (!reply.ok()) return fail(reply.status());
  const std::string job = reply.value().at("job").get<std::string>();
  std::printf("%s\n", flags.json ? reply.value().dump().c_str() : ("job " + job).c_str());
  std::fflush(stdout);
  return flags.follow ? follow_job(*client.value(), job, flags.json) : exit_ok;
}

}  // namespace

void add_submit(CLI::App& app, Chosen& chosen) {
  auto flags = std::make_shared<SubmitFlags>();
  CLI::App* command = add_command(app, "submit", "Give a job to the swarm; jobs run one at a time, in order.",
                                  "sidestep submit configs/jobs/quickstart.json --follow");
  command->add_option("job", flags->file, "Job file (JSON)")->required()->type_name("JOB.json");
  command
      ->add_option(
          "--resume", flags->resume,
          "Begin with a checkpoint: its folder, or that of a job's checkpoints for the newest, as the "
          "nodes see it")
      ->type_name("DIR");
  command->add_flag("--follow", flags->follow,
                    "Show progress until the job has ended; exit status 1 when it fails");
  add_operator_flags(*command, *flags);
  command->callback([flags, &chosen] { chosen = [flags] { return submit(*flags); }; });
}

}  // namespace sidestep::cli

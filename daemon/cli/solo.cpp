// sidestep solo: the flags. What it does needs LibTorch and comes from the program's wiring.
#include <memory>

#include "daemon/cli/commands.h"
#include "daemon/cli/flags.h"

namespace sidestep::cli {

void add_solo(CLI::App& app, Chosen& chosen, const Wiring& wiring) {
  auto request = std::make_shared<SoloRequest>();
  CLI::App* command = add_command(
      app, "solo", "Run a job in this one process, or replay what a swarm did and compare the losses.",
      "sidestep solo configs/jobs/quickstart.json --replay run/quickstart.record");
  CLI::Option* job = command->add_option("job", request->job, "Job file (JSON)")->type_name("JOB.json");
  CLI::Option* replay =
      command
          ->add_option("--replay", request->replay, "Record of a swarm's run, from `sidestep record --out`")
          ->type_name("RECORD");
  command->add_option("--out", request->out, "Write a record of this run")
      ->type_name("FILE")
      ->excludes(replay);
  command->add_option("--threads", request->threads, "Compute threads; default: one per core, or as recorded")
      ->check(whole_number(1, 4096));
  command->add_option("--device", request->device, "What computes: cpu, or cuda:0 and on for an NVIDIA GPU")
      ->check(device_name())
      ->capture_default_str();
  command->add_flag("--json", request->json, "Report as JSON lines");
  const auto run_solo = wiring.solo;
  command->callback([request, job, replay, run_solo, &chosen] {
    if (job->count() == 0 && replay->count() == 0) throw CLI::RequiredError("JOB.json or --replay RECORD");
    chosen = [request, run_solo] { return run_solo(*request); };
  });
}

}  // namespace sidestep::cli

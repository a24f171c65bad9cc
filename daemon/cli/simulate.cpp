// sidestep simulate: the flags, and what runs.
#include <cstdio>
#include <limits>
#include <memory>
#include <optional>

#include "daemon/cli/app.h"
#include "daemon/cli/commands.h"
#include "daemon/cli/flags.h"
#include "daemon/cli/scenario_file.h"
#include "daemon/cli/simulate_report.h"

namespace sidestep::cli {
namespace {

struct SimulateRequest {
  std::string scenario;
  std::optional<std::int64_t> seed;
  std::string trace;  // file, "-" for standard output; empty: none
  bool json = false;
};

int simulate(const SimulateRequest& request) {
  const auto scenario = load_scenario(request.scenario);
  if (!scenario.ok()) return fail(scenario.status());
  sim::SwarmWatch::Trace trace;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(nullptr, std::fclose);
  if (!request.trace.empty()) {
    if (request.trace != "-") file.reset(std::fopen(request.trace.c_str(), "w"));
    if (request.trace != "-" && file == nullptr)
      return fail(Status::io(request.trace + ": cannot be written"));
    std::FILE* to = file != nullptr ? file.get() : stdout;
    trace = [to](const std::string& line) { std::fprintf(to, "%s\n", line.c_str()); };
  }
  const std::uint64_t seed = request.seed ? static_cast<std::uint64_t>(*request.seed) : scenario.value().seed;
  const auto report = sim::simulate(scenario.value(), seed, trace);
  if (file != nullptr && (std::fflush(file.get()) != 0 || std::ferror(file.get()) != 0))
    return fail(Status::io(request.trace + ": could not be written to its end"));
  if (!report.ok()) return fail(report.status());
  std::printf("%s", request.json ? (simulation_json(report.value()).dump(2) + "\n").c_str()
                                 : simulation_page(report.value()).c_str());
  if (went_well(report.value())) return exit_ok;
  return fail(Status::refused("the job " + std::string(to_string(report.value().state)) + " after step " +
                              std::to_string(report.value().steps) + ": " + report.value().reason));
}

}  // namespace

void add_simulate(CLI::App& app, Chosen& chosen) {
  auto request = std::make_shared<SimulateRequest>();
  CLI::App* command = add_command(
      app, "simulate",
      "What a job would do on machines that come and go: the real scheduler and nodes under a virtual clock "
      "and network, with drawn task times.",
      "sidestep simulate configs/scenarios/spot-churn-20.json --seed 7");
  command->add_option("scenario", request->scenario, "Scenario file (JSON); docs/simulate.md has every key")
      ->type_name("SCENARIO.json")
      ->required();
  command
      ->add_option("--seed", request->seed,
                   "Of all that is drawn, in place of the scenario's; the same seed gives the same output")
      ->check(whole_number(0, std::int64_t{1} << 53))
      ->type_name("N");
  CLI::Option* json = command->add_flag("--json", request->json, "Report as JSON");
  command
      ->add_option("--trace", request->trace,
                   "Write what happens, a line each: seconds from the first step, who, what; - for standard "
                   "output")
      ->type_name("FILE");
  command->callback([request, json, &chosen] {
    if (request->trace == "-" && json->count() > 0)
      throw CLI::ValidationError("--trace", "standard output has the JSON; give a file");
    chosen = [request] { return simulate(*request); };
  });
}

}  // namespace sidestep::cli

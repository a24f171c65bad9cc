// sidestep plan: the flags.
#include <algorithm>
#include <limits>
#include <memory>

#include "daemon/cli/commands.h"
#include "daemon/cli/flags.h"
#include "daemon/cli/plan_request.h"
#include "scheduler/planner/instance.h"

namespace sidestep::cli {
namespace {

const std::vector<std::string> all_methods = {"full", "dtfm", "random-skip", "no-collision", "sidestep"};

void add_source_flags(CLI::App& command, PlanRequest& request) {
  CLI::Option* instance =
      command
          .add_option("instance", request.instance, "Instance file (JSON); docs/planning.md has every key")
          ->type_name("INSTANCE.json");
  CLI::Option* wan =
      command
          .add_option(
              "--from-wan", request.from_wan,
              "Instead: make the instance out of a table of links between regions, --nodes and --model")
          ->type_name("WAN.json")
          ->excludes(instance);
  CLI::Option* nodes = command
                           .add_option("--nodes", request.nodes,
                                       "For --from-wan: how many, spread over the regions, or how many where")
                           ->type_name("N|Belgium:3,Iowa:2")
                           ->needs(wan);
  CLI::Option* model =
      command.add_option("--model", request.model, "For --from-wan: the job whose model is planned for")
          ->type_name("JOB.json")
          ->needs(wan);
  wan->needs(nodes)->needs(model);
  command
      .add_option("--skip-ratio", request.skip_ratio,
                  "For --from-wan: share of the stages that a route skips, in place of the job's")
      ->check(number(0, 0.99))
      ->needs(wan);
}

void add_search_flags(CLI::App& command, PlanRequest& request) {
  command
      .add_option(
          "--method", request.methods,
          "full (no skipping), dtfm (whole pipelines in columns), random-skip, no-collision or sidestep; "
          "several in a list or by repeating it; default: all five, for comparison")
      ->delimiter(',')
      ->check(one_of(all_methods))
      ->type_name("METHOD");
  CLI::Option* budget = command.add_option("--budget", request.budget, "Planning time, for each method")
                            ->check(duration_up_to(1))
                            ->capture_default_str()
                            ->type_name("TIME");
  command
      .add_option("--work", request.work,
                  "Instead of time: tasks to simulate, for each method; the same plan on every machine")
      ->check(whole_number(1, std::numeric_limits<std::int64_t>::max()))
      ->excludes(budget);
  command.add_option("--threads", request.threads, "Default: one per core")->check(whole_number(1, 4096));
  command
      .add_option(
          "--lanes", request.lanes,
          "Searches beside each other, part of what makes the plan; default: one per thread, with --work 2")
      ->check(whole_number(1, 1024));
  command.add_option("--seed", request.seed, "The same seed and --work give the same plan")
      ->check(whole_number(0, std::numeric_limits<std::int64_t>::max()))
      ->capture_default_str();
}

void add_start_flags(CLI::App& command, PlanRequest& request) {
  CLI::Option* start = command
                           .add_option("--start", request.start,
                                       "Plan to begin with, and to compare with; a node that it gives "
                                       "another stage has to move weights")
                           ->type_name("PLAN.json");
  command
      .add_option("--start-name", request.start_name,
                  "Which plan, in a file with several: {\"plans\": [...]}")
      ->type_name("NAME")
      ->needs(start);
  command.add_flag("--keep-placement", request.keep_placement,
                   "Routes and order only: nodes keep the stages of the start or of the instance");
  command
      .add_flag("--evaluate", request.evaluate,
                "Plan nothing: say what the start is worth, which rules it breaks, what waits for ever")
      ->needs(start);
}

}  // namespace

void add_plan(CLI::App& app, Chosen& chosen) {
  auto request = std::make_shared<PlanRequest>();
  CLI::App* command = add_command(
      app, "plan",
      "Plan which node holds which stage and the route of every microbatch, and compare methods.",
      "sidestep plan configs/instances/published20.json --budget 10s --out plan.json --svg plan.svg");
  add_source_flags(*command, *request);
  add_search_flags(*command, *request);
  add_start_flags(*command, *request);
  CLI::Option* out = command
                         ->add_option("--out", request->out,
                                      "Write the plan: of the one method, or of sidestep among several")
                         ->type_name("PLAN.json");
  CLI::Option* svg =
      command->add_option("--svg", request->svg, "Draw that plan: a Gantt chart, and a map of the routes")
          ->type_name("FILE");
  command->add_option("--write-instance", request->write_instance, "Write the instance, and plan nothing")
      ->type_name("FILE")
      ->excludes(out)
      ->excludes(svg);
  command->add_flag("--json", request->json, "Report as JSON");
  for (const char* other :
       {"--method", "--budget", "--work", "--keep-placement", "--out", "--write-instance"})
    command->get_option("--evaluate")->excludes(command->get_option(other));
  command->callback([request, &chosen] {
    if (request->instance.empty() && request->from_wan.empty())
      throw CLI::RequiredError("INSTANCE.json or --from-wan WAN.json");
    const auto& methods = request->methods;
    const bool of_none =
        methods.size() > 1 && std::find(methods.begin(), methods.end(), "sidestep") == methods.end();
    if (of_none && !(request->out.empty() && request->svg.empty()))
      throw CLI::ValidationError(
          "--method", "which of these plans is to be written? give one method, or sidestep among several");
    if (methods.empty()) request->methods = all_methods;
    chosen = [request] { return run_plan(*request); };
  });
}

}  // namespace sidestep::cli

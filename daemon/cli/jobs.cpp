// sidestep jobs, cancel, nodes: one question, one answer.
#include <memory>

#include "daemon/cli/ask.h"
#include "daemon/cli/commands.h"
#include "daemon/cli/flags.h"
#include "daemon/cli/report.h"

namespace sidestep::cli {
namespace {

struct JobFlags : OperatorFlags {
  std::string job;
};

}  // namespace

void add_jobs(CLI::App& app, Chosen& chosen) {
  auto flags = std::make_shared<OperatorFlags>();
  CLI::App* command = add_command(app, "jobs", "List all jobs, oldest first.",
                                  "sidestep jobs --config run/swarm/operator.json");
  add_operator_flags(*command, *flags);
  command->callback([flags, &chosen] {
    chosen = [flags] {
      return ask_once(*flags, "jobs", nlohmann::json::object(),
                      [](const auto& reply) { return jobs_table(reply.at("jobs")); });
    };
  });
}

void add_cancel(CLI::App& app, Chosen& chosen) {
  auto flags = std::make_shared<JobFlags>();
  CLI::App* command = add_command(app, "cancel", "End a job.", "sidestep cancel quickstart-1");
  command->add_option("job", flags->job, "Job")->required()->type_name("JOB");
  add_operator_flags(*command, *flags);
  command->callback([flags, &chosen] {
    chosen = [flags] {
      return ask_once(*flags, "cancel", {{"job", flags->job}}, [](const auto& reply) {
        return "job " + reply.at("job").template get<std::string>() + " is cancelled\n";
      });
    };
  });
}

void add_nodes(CLI::App& app, Chosen& chosen) {
  auto flags = std::make_shared<OperatorFlags>();
  CLI::App* command = add_command(app, "nodes", "List the nodes and what they do.", "sidestep nodes --json");
  add_operator_flags(*command, *flags);
  command->callback([flags, &chosen] {
    chosen = [flags] {
      return ask_once(*flags, "nodes", nlohmann::json::object(),
                      [](const auto& reply) { return nodes_table(reply.at("nodes")); });
    };
  });
}

}  // namespace sidestep::cli

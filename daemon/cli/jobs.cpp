// sidestep jobs, cancel, nodes, drain: one question, one answer.
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

struct NodeFlags : OperatorFlags {
  std::string node;
};

std::string drained_text(const nlohmann::json& reply) {
  std::string stages;
  for (const auto& stage : reply.at("stages")) stages += (stages.empty() ? "" : ", ") + stage.dump();
  const std::string name = reply.at("nickname").get<std::string>();
  if (stages.empty()) return name + " holds no stage; it ends at once\n";
  return name + " hands over stage " + stages + " and ends; `sidestep logs -f --node " + name +
         "` shows it\n";
}

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

void add_drain(CLI::App& app, Chosen& chosen) {
  auto flags = std::make_shared<NodeFlags>();
  CLI::App* command = add_command(app, "drain", "Have a node hand its stages over to others, and end.",
                                  "sidestep drain node-3");
  command->add_option("node", flags->node, "Nickname, or the start of its key")
      ->required()
      ->type_name("NODE");
  add_operator_flags(*command, *flags);
  command->callback([flags, &chosen] {
    chosen = [flags] { return ask_once(*flags, "drain", {{"node", flags->node}}, drained_text); };
  });
}

}  // namespace sidestep::cli

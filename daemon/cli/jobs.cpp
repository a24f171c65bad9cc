// sidestep jobs, cancel, nodes, drain, kill: one question, one answer.
#include <memory>
#include <optional>

#include "daemon/cli/ask.h"
#include "daemon/cli/commands.h"
#include "daemon/cli/flags.h"
#include "daemon/cli/report.h"
#include "scheduler/plan.h"

namespace sidestep::cli {
namespace {

struct JobFlags : OperatorFlags {
  std::string job;
};

struct NodeFlags : OperatorFlags {
  std::string node;
};

struct KillFlags : OperatorFlags {
  std::string node;
  std::optional<std::int64_t> stage;
};

std::string stages_text(const nlohmann::json& list) {
  std::string stages;
  for (const auto& stage : list) stages += (stages.empty() ? "" : ", ") + stage.dump();
  return stages;
}

std::string killed_text(const nlohmann::json& reply) {
  std::string text;
  for (const auto& node : reply.at("killed")) {
    const auto stages = node.at("stages").get<std::vector<std::uint32_t>>();
    text += node.at("nickname").get<std::string>() + " is killed; it held " +
            (stages.empty() ? "no stage" : scheduler::stage_list(stages)) + "\n";
  }
  return text;
}

std::string drained_text(const nlohmann::json& reply) {
  const std::string stages = stages_text(reply.at("stages"));
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

void add_kill(CLI::App& app, Chosen& chosen) {
  auto flags = std::make_shared<KillFlags>();
  CLI::App* command =
      add_command(app, "kill", "Try a loss: a node, or all that hold a stage, end as if killed.",
                  "sidestep kill --stage 2");
  auto* node =
      command->add_option("--node", flags->node, "Nickname, or the start of its key")->type_name("NODE");
  auto* stage =
      command->add_option("--stage", flags->stage, "Stage of the job that runs")->type_name("STAGE");
  node->excludes(stage);
  add_operator_flags(*command, *flags);
  command->callback([flags, &chosen] {
    chosen = [flags] {
      nlohmann::json body = nlohmann::json::object();
      if (!flags->node.empty()) body["node"] = flags->node;
      if (flags->stage) body["stage"] = *flags->stage;
      return ask_once(*flags, "kill", body, killed_text);
    };
  });
}

}  // namespace sidestep::cli

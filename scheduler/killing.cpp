// Losses on purpose: nodes that an operator kills, and those that a job's failures have killed.
#include "scheduler/options.h"
#include "scheduler/scheduler_state.h"

namespace sidestep::scheduler {

void SchedulerCore::State::end_as_if_killed(const Node& node, const std::string& why) {
  log(net::LogLevel::warning, active ? active->id : "", label(node.member) + " is killed " + why);
  post(node, net::Vanish{"killed " + why});
}

Result<SchedulerCore::State::Node*> SchedulerCore::State::find_node(const std::string& text) {
  std::vector<Node*> found;
  for (auto& [key, node] : nodes)
    if (node.member.nickname == text || key.hex().starts_with(text)) found.push_back(&node);
  if (found.size() != 1)
    return Status::not_found((found.empty() ? "no node \"" : "more than one node is \"") + text +
                             "\"; `sidestep nodes` lists them");
  return found.front();
}

Result<nlohmann::json> SchedulerCore::State::kill(const net::NodeKey& by, const nlohmann::json& body) {
  std::string text;
  std::int64_t stage = -1;
  OptionTable table;
  table.add("node", text, "nickname or start of a key");
  table.add("stage", stage, "of the job that runs: all that hold it").range(0, 1'000'000);
  Problems problems("kill");
  table.read(body, problems);
  if (!problems.empty()) return problems.status();
  if (text.empty() == (stage < 0)) return Status::invalid("kill: give either a node or a stage");
  std::vector<Node*> victims;
  if (stage < 0) {
    const Result<Node*> found = find_node(text);
    if (!found.ok()) return found.status();
    victims.push_back(found.value());
  } else {
    if (!active || active->plan.stages_of.empty())
      return Status::refused("no job runs, so nobody holds a stage");
    for (const net::NodeKey& key : active->plan.replicas(static_cast<std::uint32_t>(stage)))
      if (const auto node = nodes.find(key); node != nodes.end()) victims.push_back(&node->second);
    if (victims.empty())
      return Status::not_found("nobody holds stage " + std::to_string(stage) + " of job " + active->id +
                               "; `sidestep status` shows its stages");
  }
  nlohmann::json killed = nlohmann::json::array();
  for (Node* node : victims) {
    killed.push_back(
        {{"node", node->member.key.hex()},
         {"nickname", node->member.nickname},
         {"stages", active ? active->plan.stages(node->member.key) : std::vector<std::uint32_t>{}}});
    end_as_if_killed(*node, "by an operator (key " + by.short_name() + ")");
  }
  return nlohmann::json{{"killed", std::move(killed)}};
}

// As the step begins, as near as can be: its nodes are told when the commit before it was reported.
void SchedulerCore::State::obey_failures(std::uint64_t step) {
  // Steps that run again are not struck again.
  JobRow& job = row(active->id);
  if (committed_all() || !active->spec.failures.any() || step <= job.struck) return;
  job.struck = step;
  save(job);
  for (const std::uint32_t stage : active->spec.failures.stages_lost_at(step, active->plan.stage_count())) {
    const std::string why = "by the job's failures, which have stage " + std::to_string(stage) +
                            " lost at step " + std::to_string(step);
    std::vector<net::NodeKey> holders = active->plan.replicas(stage);
    // Of a stage that the job has held twice on purpose one holder is lost, as in one process: one that is
    // alone with no other stage, if there is such.
    if (active->spec.recovery.holders_wanted(stage) > 1 && holders.size() > 1) {
      const auto alone_with = [&](const net::NodeKey& key) {
        return std::ranges::count_if(active->plan.stages(key), [&](std::uint32_t held) {
          return active->plan.replicas(held).size() == 1;
        });
      };
      holders = {std::ranges::min(holders, {}, alone_with)};
    }
    for (const net::NodeKey& key : holders) {
      if (const auto node = nodes.find(key); node != nodes.end()) end_as_if_killed(node->second, why);
    }
  }
}

}  // namespace sidestep::scheduler

#include "scheduler/step_report.h"

#include <algorithm>

namespace sidestep::scheduler {
namespace {

const char* name_of(TaskKind kind) {
  return kind == TaskKind::forward ? "forward" : kind == TaskKind::head ? "head" : "backward";
}

const char* name_of(const net::StepTask& task) {
  if (task.evaluation) return "validation";
  return task.kind == net::StepTaskKind::forward ? "forward"
         : task.kind == net::StepTaskKind::head  ? "head"
                                                 : "backward";
}

nlohmann::json measured_json(const StepSet& set, const std::vector<PlacementNode>& nodes) {
  nlohmann::json tasks = nlohmann::json::array(), averages = nlohmann::json::array();
  for (std::size_t place = 0; place < nodes.size(); ++place) {
    const auto told = set.nodes.find(nodes[place].key);
    if (told == set.nodes.end()) continue;
    for (const net::StepTask& task : told->second.tasks)
      tasks.push_back(
          {place, name_of(task), task.stage, task.microbatch, task.ready_us, task.begin_us, task.end_us});
    for (const net::StepAverage& average : told->second.averages)
      averages.push_back({place, average.stage, average.begin_us, average.end_us});
  }
  return {{"tasks", std::move(tasks)}, {"averages", std::move(averages)}};
}

nlohmann::json predicted_json(const PlanModel& model) {
  const Evaluation evaluation = evaluate(model.instance, model.plan);
  nlohmann::json tasks = nlohmann::json::array(), averages = nlohmann::json::array();
  std::vector<std::int64_t> last_us(model.instance.stages, -1);
  for (const TaskTime& task : evaluation.tasks) {
    tasks.push_back({task.node, name_of(task.kind), task.stage, model.plan.paths[task.path].microbatch,
                     task.ready_us, task.begin_us, task.end_us});
    if (task.kind == TaskKind::backward) last_us[task.stage] = std::max(last_us[task.stage], task.end_us);
  }
  // All replicas of a stage average at a time, in the model.
  for (std::size_t place = 0; place < model.plan.stage_of.size(); ++place)
    for (const std::uint32_t stage : model.plan.stage_of[place])
      if (stage < evaluation.stage_averaged_us.size() && last_us[stage] >= 0 &&
          evaluation.stage_averaged_us[stage] > 0)
        averages.push_back(
            {place, stage, last_us[stage], last_us[stage] + evaluation.stage_averaged_us[stage]});
  return {{"step_us", evaluation.step_us}, {"tasks", std::move(tasks)}, {"averages", std::move(averages)}};
}

}  // namespace

nlohmann::json step_report(const StepSet& set, const PlanModel& model,
                           const std::vector<PlacementNode>& nodes) {
  nlohmann::json list = nlohmann::json::array(), microbatches = nlohmann::json::array();
  for (std::size_t place = 0; place < nodes.size(); ++place) {
    const auto told = set.nodes.find(nodes[place].key);
    list.push_back({{"key", nodes[place].key.hex()},
                    {"nickname", nodes[place].nickname},
                    {"stages", model.plan.stage_of[place]},
                    {"commit_us", told == set.nodes.end() ? 0 : told->second.commit_us}});
  }
  for (const Path& path : model.plan.paths) microbatches.push_back(path.microbatch);
  return {{"step", set.step},
          {"epoch", set.epoch},
          {"stages", model.instance.stages},
          {"microbatches", std::move(microbatches)},
          {"nodes", std::move(list)},
          {"measured", measured_json(set, nodes)},
          {"predicted", predicted_json(model)}};
}

}  // namespace sidestep::scheduler

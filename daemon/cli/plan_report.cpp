#include "daemon/cli/plan_report.h"

#include <algorithm>

#include "daemon/cli/report.h"
#include "scheduler/planner/instance_json.h"

namespace sidestep::cli {
namespace {

using nlohmann::ordered_json;
using scheduler::Evaluation;
using scheduler::Instance;
using scheduler::SlotWait;

double seconds(std::int64_t us) { return static_cast<double>(us) / 1e6; }
std::string seconds_cell(std::int64_t us) { return fixed(seconds(us), 3) + " s"; }
std::string percent(double share) { return fixed(100 * share, 1) + " %"; }

std::string count_of(std::size_t count, const char* one, const char* many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

std::string wait_text(const Instance& instance, const PlanRow& row, const SlotWait& wait) {
  return "microbatch " + std::to_string(row.plan.paths[wait.path].microbatch) + " waits at node " +
         instance.nodes[wait.node].id + ", stage " + std::to_string(wait.stage) +
         ": no slot of it comes free, or there is no link";
}

// Below a table: how many, and the first one.
std::string problems_of(const Instance& instance, const PlanRow& row) {
  std::string text;
  const Evaluation& evaluation = row.evaluation;
  if (!evaluation.finishes && !evaluation.waits.empty())
    text += row.name + ": does not finish, " +
            count_of(evaluation.waits.size(), "microbatch waits", "microbatches wait") +
            " for ever; first: " + wait_text(instance, row, evaluation.waits.front()) + "\n";
  if (!evaluation.broken.empty())
    text += row.name + ": breaks " + count_of(evaluation.broken.size(), "rule", "rules") +
            "; first: " + evaluation.broken.front().rule + ": " + evaluation.broken.front().text + "\n";
  return text;
}

ordered_json worth_json(const Instance& instance, const PlanRow& row) {
  const Evaluation& evaluation = row.evaluation;
  ordered_json json;
  json["finishes"] = evaluation.finishes;
  json["makespan_s"] = seconds(evaluation.makespan_us);
  if (instance.counts_averaging()) json["step_s"] = seconds(evaluation.step_us);
  json["bound_s"] = seconds(row.bound.step_us);
  json["bound_by"] = row.bound.why;
  json["gap"] = gap(row);
  json["utilisation"] = mean_utilisation(evaluation);
  ordered_json broken = ordered_json::array(), waits = ordered_json::array();
  for (const auto& rule : evaluation.broken) broken.push_back({{"rule", rule.rule}, {"text", rule.text}});
  for (const SlotWait& wait : evaluation.waits)
    waits.push_back({{"microbatch", row.plan.paths[wait.path].microbatch},
                     {"stage", wait.stage},
                     {"node", scheduler::id_json(instance.nodes[wait.node])}});
  json["broken"] = std::move(broken);
  json["waits"] = std::move(waits);
  return json;
}

std::string stages_text(const std::vector<std::uint32_t>& held) {
  std::string text;
  for (const std::uint32_t stage : held) text += (text.empty() ? "" : ",") + std::to_string(stage);
  return text.empty() ? "-" : text;
}

}  // namespace

double gap(const PlanRow& row) {
  if (row.bound.step_us <= 0) return 0;
  return static_cast<double>(row.evaluation.step_us) / static_cast<double>(row.bound.step_us) - 1;
}

double mean_utilisation(const Evaluation& evaluation) {
  double sum = 0;
  for (const auto& use : evaluation.nodes) sum += use.utilisation;
  return evaluation.nodes.empty() ? 0 : sum / static_cast<double>(evaluation.nodes.size());
}

bool is_sound(const Evaluation& evaluation) { return evaluation.finishes && evaluation.broken.empty(); }

std::string plans_table(const Instance& instance, const std::vector<PlanRow>& rows) {
  const bool averaging = instance.counts_averaging();
  Row head = {"METHOD", "MAKESPAN"};
  if (averaging) head.push_back("STEP");
  for (const char* name : {"BOUND", "GAP", "UTILISATION", "EVALUATIONS", "SECONDS", "BOUND BY"})
    head.push_back(name);
  std::vector<Row> cells;
  std::string problems;
  for (const PlanRow& row : rows) {
    if (!row.problem.ok()) {
      Row line(head.size(), "-");
      line[0] = row.name;
      cells.push_back(line);
      continue;
    }
    problems += problems_of(instance, row);
    const bool finishes = row.evaluation.finishes;
    Row line = {row.name, finishes ? seconds_cell(row.evaluation.makespan_us) : "never"};
    if (averaging) line.push_back(finishes ? seconds_cell(row.evaluation.step_us) : "never");
    line.push_back(seconds_cell(row.bound.step_us));
    line.push_back(finishes ? percent(gap(row)) : "-");
    line.push_back(percent(mean_utilisation(row.evaluation)));
    line.push_back(row.search ? amount(static_cast<double>(row.search->evaluations)) : "-");
    line.push_back(row.search ? fixed(row.search->seconds, 2) : "-");
    line.push_back(row.bound.why);
    cells.push_back(line);
  }
  return table(head, cells) + problems;
}

ordered_json plans_json(const Instance& instance, const std::vector<PlanRow>& rows) {
  ordered_json list = ordered_json::array();
  for (const PlanRow& row : rows) {
    ordered_json entry;
    entry["method"] = row.name;
    if (!row.problem.ok()) {
      entry["error"] = row.problem.message();
    } else {
      entry.update(worth_json(instance, row));
      if (row.search) {
        entry["evaluations"] = row.search->evaluations;
        entry["seconds"] = row.search->seconds;
        entry["first_s"] = seconds(row.search->first_us);
        entry["moving_s"] = seconds(row.search->moving_us);
      }
    }
    list.push_back(std::move(entry));
  }
  return list;
}

std::string evaluation_page(const Instance& instance, const PlanRow& row) {
  const Evaluation& evaluation = row.evaluation;
  std::string page;
  if (evaluation.finishes) {
    page += "makespan " + seconds_cell(evaluation.makespan_us);
    if (instance.counts_averaging()) page += ", step with averaging " + seconds_cell(evaluation.step_us);
    page += "; lower bound " + seconds_cell(row.bound.step_us) + " (" + row.bound.why + "), gap " +
            percent(gap(row)) + "\n";
  } else {
    page += "does not finish; what runs ends after " + seconds_cell(evaluation.makespan_us) + "\n";
  }
  page += evaluation.broken.empty() ? "broken rules: none\n" : "broken rules:\n";
  for (const auto& broken : evaluation.broken) page += "  " + broken.rule + ": " + broken.text + "\n";
  page += evaluation.waits.empty() ? "deadlocks: none\n" : "deadlocks:\n";
  for (const SlotWait& wait : evaluation.waits) page += "  " + wait_text(instance, row, wait) + "\n";
  std::vector<Row> rows;
  for (std::size_t n = 0; n < instance.node_count(); ++n) {
    const auto& use = evaluation.nodes[n];
    const auto& node = instance.nodes[n];
    rows.push_back({node.id, node.location.empty() ? "-" : node.location, stages_text(row.plan.stage_of[n]),
                    std::to_string(row.plan.slots[n]), std::to_string(use.tasks), seconds_cell(use.busy_us),
                    percent(use.utilisation)});
  }
  return page + "\n" + table({"NODE", "LOCATION", "STAGES", "SLOTS", "TASKS", "BUSY", "UTILISATION"}, rows);
}

ordered_json evaluation_json(const Instance& instance, const PlanRow& row) {
  ordered_json json = worth_json(instance, row);
  ordered_json nodes = ordered_json::array();
  for (std::size_t n = 0; n < instance.node_count(); ++n) {
    const auto& use = row.evaluation.nodes[n];
    nodes.push_back({{"id", scheduler::id_json(instance.nodes[n])},
                     {"stages", row.plan.stage_of[n]},
                     {"slots", row.plan.slots[n]},
                     {"tasks", use.tasks},
                     {"busy_s", seconds(use.busy_us)},
                     {"utilisation", use.utilisation}});
  }
  json["nodes"] = std::move(nodes);
  return json;
}

std::string by_lines(const ordered_json& json) {
  std::string text = "{\n";
  const auto dump = [](const ordered_json& value) {
    return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  };
  for (auto entry = json.begin(); entry != json.end(); ++entry) {
    if (entry != json.begin()) text += ",\n";
    text += " " + dump(entry.key()) + ": ";
    const ordered_json& value = entry.value();
    const bool nested =
        value.is_array() && std::any_of(value.begin(), value.end(),
                                        [](const ordered_json& inner) { return inner.is_structured(); });
    if (!nested) {
      text += dump(value);
      continue;
    }
    text += "[\n";
    for (std::size_t i = 0; i < value.size(); ++i)
      text += "  " + dump(value[i]) + (i + 1 < value.size() ? ",\n" : "\n");
    text += " ]";
  }
  return text + "\n}\n";
}

}  // namespace sidestep::cli

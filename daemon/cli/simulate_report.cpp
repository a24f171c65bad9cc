#include "daemon/cli/simulate_report.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "daemon/cli/report.h"
#include "scheduler/plan_model.h"

namespace sidestep::cli {
namespace {

using nlohmann::ordered_json;
using sim::Share;
using sim::SimPlan;
using sim::SimReport;

constexpr std::size_t plans_shown_max = 20, notes_shown_max = 40;

struct ShareText {
  const char* name;
  const char* what;
};
constexpr std::array<ShareText, static_cast<std::size_t>(Share::count)> share_texts = {{
    {"useful", "work of steps that were kept: the goodput"},
    {"redo", "work of steps that began anew, or of nodes that died in them"},
    {"average", "averaging, and waiting for its other replicas"},
    {"detect", "waiting until a node that is gone is taken to be dead"},
    {"replan", "waiting for the plan after that"},
    {"transfer", "waiting for a message that is on its way"},
    {"bubble", "nothing to do, or copying a stage"},
}};

double seconds(std::int64_t us) { return static_cast<double>(us) / 1e6; }

double share_of(const SimReport& report, std::size_t share) {
  const auto whole = std::accumulate(report.shares.begin(), report.shares.end(), std::int64_t{0});
  return whole == 0 ? 0 : static_cast<double>(report.shares[share]) / static_cast<double>(whole);
}

double tokens_per_s(const SimReport& report) {
  return report.duration_us == 0 ? 0 : static_cast<double>(report.tokens) / seconds(report.duration_us);
}

std::string time_cell(std::int64_t us) { return us == 0 ? "-" : scheduler::milliseconds(us); }
std::string at_cell(std::int64_t us) { return fixed(seconds(us), 1) + " s"; }

std::string outcome(const SimReport& report) {
  std::string text =
      "job " + std::string(to_string(report.state)) + (report.reason.empty() ? "" : ": " + report.reason) +
      "; " + std::to_string(report.steps) + " of " + std::to_string(report.steps_wanted) + " steps in " +
      at_cell(report.duration_us) + ", after " + at_cell(report.prepared_us) + " to join, measure and plan";
  return text;
}

// The first rows.
std::string cut_table(const Row& head, std::vector<Row> rows, std::size_t shown_max) {
  const std::size_t more = rows.size() - std::min(rows.size(), shown_max);
  rows.resize(rows.size() - more);
  return table(head, rows) + (more > 0 ? "and " + std::to_string(more) + " more: --json has all\n" : "");
}

std::string plans_of(const SimReport& report) {
  std::vector<Row> rows;
  for (const SimPlan& plan : report.plans)
    rows.push_back({std::to_string(plan.epoch), at_cell(plan.at_us), std::to_string(plan.nodes),
                    time_cell(plan.predicted_us), time_cell(sim::median_us(plan.took_us)),
                    std::to_string(plan.took_us.size())});
  return cut_table({"PLAN", "AT", "NODES", "PREDICTED", "MEASURED", "STEPS"}, std::move(rows),
                   plans_shown_max);
}

std::string notes_of(const SimReport& report) {
  std::vector<Row> rows;
  for (const sim::SimNote& note : report.notes) rows.push_back({at_cell(note.at_us), note.who, note.what});
  return cut_table({"AT", "WHO", "WHAT"}, std::move(rows), notes_shown_max);
}

}  // namespace

bool went_well(const SimReport& report) {
  return !ended(report.state) || report.state == scheduler::JobState::done;
}

std::string simulation_page(const SimReport& report) {
  std::string page = std::to_string(report.nodes) + " nodes, seed " + std::to_string(report.seed) + ": " +
                     outcome(report) + "\n\n";
  page += "predicted step  " + time_cell(report.plans.front().predicted_us) + "\n";
  page += "measured step   " + time_cell(report.median_us()) + " (median)\n";
  page += "tokens/s        " + amount(tokens_per_s(report)) + "\n\n";
  std::vector<Row> shares;
  for (std::size_t i = 0; i < share_texts.size(); ++i)
    shares.push_back({share_texts[i].name, fixed(100 * share_of(report, i), 1) + " %", share_texts[i].what});
  page += table({"SHARE", "OF TIME", ""}, shares) + "\n";
  return page + plans_of(report) + "\n" + notes_of(report);
}

ordered_json simulation_json(const SimReport& report) {
  ordered_json shares, plans = ordered_json::array(), notes = ordered_json::array();
  for (std::size_t i = 0; i < share_texts.size(); ++i) shares[share_texts[i].name] = share_of(report, i);
  for (const SimPlan& plan : report.plans)
    plans.push_back({{"plan", plan.epoch},
                     {"at_s", seconds(plan.at_us)},
                     {"nodes", plan.nodes},
                     {"predicted_step_s", seconds(plan.predicted_us)},
                     {"measured_step_s", seconds(sim::median_us(plan.took_us))},
                     {"steps", plan.took_us.size()}});
  for (const sim::SimNote& note : report.notes)
    notes.push_back({{"at_s", seconds(note.at_us)}, {"who", note.who}, {"what", note.what}});
  return {{"seed", report.seed},
          {"nodes", report.nodes},
          {"state", to_string(report.state)},
          {"reason", report.reason},
          {"prepared_s", seconds(report.prepared_us)},
          {"duration_s", seconds(report.duration_us)},
          {"steps", report.steps},
          {"steps_wanted", report.steps_wanted},
          {"tokens", report.tokens},
          {"tokens_per_s", tokens_per_s(report)},
          {"predicted_step_s", seconds(report.plans.front().predicted_us)},
          {"measured_step_s", seconds(report.median_us())},
          {"goodput", share_of(report, static_cast<std::size_t>(Share::useful))},
          {"shares", std::move(shares)},
          {"plans", std::move(plans)},
          {"events", std::move(notes)}};
}

}  // namespace sidestep::cli

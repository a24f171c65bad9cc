// A running job whose plan has to change: a node is lost whose stages others hold too. Routes are planned
// anew over those that are left, and take the place of the old ones at the step under way.
#include <algorithm>

#include "scheduler/plan_model.h"
#include "scheduler/scheduler_state.h"

namespace sidestep::scheduler {
namespace {

std::string stage_list(const std::vector<std::uint32_t>& stages) {
  std::string text = stages.size() == 1 ? "stage " : "stages ";
  for (std::size_t i = 0; i < stages.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(stages[i]);
  return text;
}

}  // namespace

// "; predicted step 412 ms", or of each phase; empty where it is not known.
std::string SchedulerCore::State::predicted_text(const Plan& plan) {
  std::string text;
  for (const PlanPhase& phase : plan.phases)
    if (phase.predicted_step_us > 0)
      text += "; predicted step" +
              (plan.phases.size() > 1 ? " from step " + std::to_string(phase.from_step) + ":" : "") + " " +
              milliseconds(phase.predicted_step_us);
  return text;
}

bool SchedulerCore::State::lives(const net::Member& member) const {
  const auto node = nodes.find(member.key);
  return node != nodes.end() && node->second.member.boot == member.boot;
}

// A node that was declared dead and came back, though it never ended, is no part of the job any more.
bool SchedulerCore::State::takes_part(const net::Member& member) const {
  return lives(member) && !active->lost.contains({member.key, member.boot});
}

bool SchedulerCore::State::all_have_applied() const {
  const JobRow& job = *find_row(active->id);
  return std::ranges::all_of(job.view.members, [&](const net::Member& member) {
    if (!takes_part(member)) return true;
    const std::optional<net::JobProgress>& progress = nodes.at(member.key).progress;
    return progress && progress->job == active->id && progress->step >= *job.commit;
  });
}

void SchedulerCore::State::job_loses_node(const net::Member& member, const std::string& why) {
  if (!active) return;
  const JobRow& job = row(active->id);
  if (job.state == JobState::preparing) {
    active->answers.erase(member.key);
    active->planning.reset();  // a plan that names it would be void
    plan_when_prepared();
    return;
  }
  const auto held = active->plan.stages_of.find(member.key);
  if (held == active->plan.stages_of.end()) return;
  active->lost.insert({member.key, member.boot});
  std::erase_if(active->early_reports, [&](const auto& entry) { return entry.second.peer == member.key; });
  std::set<std::uint32_t> left;
  for (const net::Member& other : job.view.members)
    if (takes_part(other))
      for (const std::uint32_t stage : active->plan.stages_of.at(other.key)) left.insert(stage);
  std::vector<std::uint32_t> lost;
  for (const std::uint32_t stage : held->second)
    if (!left.contains(stage)) lost.push_back(stage);
  const std::string last =
      job.commit ? "last commit: step " + std::to_string(*job.commit) : "before the first commit";
  // Nothing is left to train, but the last Commit may have been lost with this node: another plan's lead
  // gives it again to those that have not applied it.
  if (committed_all() && (!lost.empty() || all_have_applied())) return end_if_finished();
  if (!lost.empty())
    return end_active(JobState::failed,
                      label(member) + ": " + why + "; " + stage_list(lost) +
                          (lost.size() == 1 ? " has no replica left; " : " have no replica left; ") + last);
  log(net::LogLevel::warning, job.id,
      label(member) + " is lost, " + stage_list(held->second) +
          (held->second.size() == 1 ? " has another replica" : " have other replicas") +
          "; plans without it, " + last);
  active->planning = next_id++;
  out->push_back(StartPlanning{*active->planning, request_for_rest()});
}

// Who is left keeps its stages.
PlacementRequest SchedulerCore::State::request_for_rest() const {
  const JobRow& job = *find_row(active->id);
  PlacementRequest request{active->plan.epoch + 1, active->spec, {}, options.plan_work, {}};
  for (const net::Member& member : job.view.members) {
    if (!takes_part(member)) continue;
    request.stages_of[member.key] = active->plan.stages_of.at(member.key);
    PlacementNode& node = request.nodes.emplace_back();
    node.key = member.key;
    node.nickname = member.nickname;
    node.has_data = active->plan.holds(member.key, 0);
  }
  add_figures(request.nodes);
  return request;
}

void SchedulerCore::State::adopt_for_rest(Plan plan) {
  JobRow& job = row(active->id);
  std::string gone;
  for (const net::Member& member : job.view.members)
    if (!plan.stages_of.contains(member.key)) gone += (gone.empty() ? "" : ", ") + member.nickname;
  active->plan = std::move(plan);
  std::erase_if(job.view.members,
                [&](const net::Member& member) { return !active->plan.stages_of.contains(member.key); });
  job.view.number = view.number;
  job.plan = to_json(active->plan);
  // Whoever leads now was not asked for one.
  active->snapshot_asked = 0;
  active->start_deadline_us.reset();
  save(job);
  log(net::LogLevel::info, job.id,
      "plan " + std::to_string(active->plan.epoch) + ", without " + gone + predicted_text(active->plan));
  for (const net::Member& member : job.view.members) send_start(nodes.at(member.key));
}

}  // namespace sidestep::scheduler

// A running job that loses a node whose stages others hold too. Routes are planned anew over those that are
// left, and take the place of the old ones at the step under way.
#include <algorithm>

#include "scheduler/plan_model.h"
#include "scheduler/scheduler_state.h"
#include "scheduler/sources.h"

namespace sidestep::scheduler {
namespace {

// A stage that is out is given to a node that holds another only after this, where somebody else may come.
constexpr std::int64_t host_wait_us = 6'000'000;
// A step waits for the plan: it is looked for so much shorter.
constexpr std::uint64_t work_divisor = 8;

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

bool SchedulerCore::State::can_rebuild(const std::vector<std::uint32_t>& lost) const {
  if (!active->spec.recovery.rebuilds() || has_stage(lost, 0)) return false;
  for (std::uint32_t stage = 0; stage < active->plan.stage_count(); ++stage)
    if (!has_stage(lost, stage) && active->spec.layer_count(stage) > 0) return true;
  return false;
}

std::vector<std::uint32_t> SchedulerCore::State::held_by_nobody(const StagesByNode& held) const {
  std::vector<std::uint32_t> stages;
  for (std::uint32_t stage = 0; stage < active->plan.stage_count(); ++stage)
    if (std::ranges::none_of(held, [&](const auto& entry) { return has_stage(entry.second, stage); }))
      stages.push_back(stage);
  return stages;
}

// A plan that is on its way may have been named by a Commit that was not reported. Whoever works under it
// holds what it says. Others may have dropped what it takes from them, or not got the Commit; and of those
// that were given a stage not all have said that they have it.
StagesByNode SchedulerCore::State::held_by_rest() const {
  const Plan* next = active->change && active->change->told ? &active->change->plan : nullptr;
  enum class Trust { sure, likely, all };
  const auto held_by = [&](const net::Member& member, Trust trust) {
    std::vector<std::uint32_t> stages = active->plan.stages(member.key);
    if (next != nullptr && active->change->faulted.contains(member.key)) return std::vector<std::uint32_t>{};
    if (next != nullptr && works_under(nodes.at(member.key), next->epoch)) return next->stages(member.key);
    if (trust != Trust::all && active->unproven.contains(member.key)) stages.clear();
    if (next != nullptr && trust == Trust::sure)
      std::erase_if(stages, [&](std::uint32_t stage) { return !next->holds(member.key, stage); });
    return stages;
  };
  std::vector<net::Member> members = find_row(active->id)->view.members;
  if (next != nullptr)
    members.insert(members.end(), active->change->view.members.begin(), active->change->view.members.end());
  std::optional<StagesByNode> best;
  for (const Trust trust : {Trust::sure, Trust::likely, Trust::all}) {
    StagesByNode held;
    for (const net::Member& member : members) {
      if (!takes_part(member)) continue;
      if (std::vector<std::uint32_t> stages = held_by(member, trust); !stages.empty())
        held.emplace(member.key, std::move(stages));
    }
    if (!best || held_by_nobody(held).size() < held_by_nobody(*best).size()) best = std::move(held);
  }
  return *best;
}

void SchedulerCore::State::job_loses_node(const net::Member& member, const std::string& why,
                                          std::int64_t detect_us) {
  if (!active) return;
  active->answers.erase(member.key);
  if (active->gone.contains(member.key)) expect_successors();
  active->gone.erase(member.key);
  if (row(active->id).state == JobState::preparing) {
    active->planning.reset();  // a plan that names it would be void
    plan_when_prepared();
    return;
  }
  active->lost.insert({member.key, member.boot});
  drop_mirrors([&](std::uint32_t, const KeptMirror& mirror) { return mirror.node == member.key; });
  const std::vector<std::uint32_t>& held = active->plan.stages(member.key);
  const bool was_to_hold =
      active->change && active->change->told && !active->change->plan.stages(member.key).empty();
  if (held.empty() && !was_to_hold) {
    // A plan may have it learn a stage, or one that waits for its answer is told without it.
    void_changes();
    if (active->change &&
        std::erase_if(active->change->unacked, [&](const auto& one) { return one.second == member.key; }) > 0)
      tell_lead_if_all_have_it();
    return;
  }
  std::erase_if(active->early_reports, [&](const auto& entry) { return entry.second.peer == member.key; });
  give_up_checkpoint("a node was lost");
  active->loss =
      Active::Loss{label(member) + ": " + why,
                   label(member) + " is lost" + (held.empty() ? "" : ", which held " + stage_list(held)),
                   now_us, detect_us};
  active->planning.reset();
  active->growth.reset();
  // One that nobody was told of yet is not waited for.
  if (active->change && !active->change->told) withdraw_offer();
  plan_for_rest();
}

void SchedulerCore::State::plan_for_rest() {
  if (!active || !active->loss || active->planning) return;
  // After a restart of the scheduler: which of two plans they work under, nodes say when they greet.
  if (active->change && !all_greeted()) return;
  const JobRow& job = row(active->id);
  const StagesByNode rest = held_by_rest();
  // Nothing is left to train, but the last Commit may have been lost with a node: another plan's lead gives
  // it again to those that have not applied it.
  const std::vector<std::uint32_t> lost = held_by_nobody(rest);
  if (committed_all() && (!lost.empty() || all_have_applied())) {
    active->loss.reset();
    active->unproven.clear();
    active->prove_by_us.reset();
    return end_if_finished();
  }
  const std::string last =
      job.commit ? "last commit: step " + std::to_string(*job.commit) : "before the first commit";
  if (!lost.empty() && !can_rebuild(lost)) {
    const std::string why = active->loss->why + "; " + stage_list(lost) +
                            (lost.size() == 1 ? " has no replica left; " : " have no replica left; ") + last;
    return can_go_back() ? go_back(why) : end_active(JobState::failed, why);
  }
  log(net::LogLevel::warning, job.id, active->loss->what + "; plans without it, " + last);
  if (!lost.empty())
    log(net::LogLevel::warning, job.id,
        stage_list(lost) + (lost.size() == 1 ? " has" : " have") +
            " no replica left: routes go around it until its neighbours have rebuilt it");
  start_planning(request_for(rest, options.plan_work / work_divisor));
}

void SchedulerCore::State::lose_dead_members(const std::string& why) {
  std::vector<net::Member> members = row(active->id).view.members;
  if (active->change)
    for (const net::Member& member : active->change->view.members)
      if (!active->plan.stages_of.contains(member.key)) members.push_back(member);
  for (const net::Member& member : members)
    if (active && !takes_part(member)) job_loses_node(member, why);
}

PlacementRequest SchedulerCore::State::request_for(const StagesByNode& stages_of, std::uint64_t work) const {
  PlacementRequest request{last_epoch() + 1, active->spec, {}, std::max<std::uint64_t>(1, work), stages_of};
  for (const auto& [key, stages] : stages_of) {
    PlacementNode& node = request.nodes.emplace_back();
    node.key = key;
    node.nickname = nodes.at(key).member.nickname;
    node.has_data = std::ranges::find(stages, 0u) != stages.end();
  }
  add_figures(request.nodes);
  return request;
}

// Nothing that a lesson needs is lost with the nodes that `plan` does without: its learner has said from
// which commit on it learns, and those that it learns from, of its stage or of the nearest below and above,
// are as before.
StagesByNode SchedulerCore::State::lessons_that_go_on(const Plan& plan) const {
  StagesByNode lessons;
  if (active->change) return lessons;  // some may work under another plan already
  // And work under the plan: who takes this one instead of it has not offered its state.
  const auto work_on = [&](const std::vector<net::NodeKey>& keys) {
    return std::ranges::all_of(keys, [&](const net::NodeKey& key) {
      return nodes.contains(key) && works_under(nodes.at(key), active->plan.epoch);
    });
  };
  const auto is_same = [&](std::uint32_t stage) {
    const std::vector<net::NodeKey> replicas = plan.replicas(stage);
    return replicas == active->plan.replicas(stage) && work_on(replicas);
  };
  const auto has_sources = [&](std::uint32_t stage) {
    if (plan.is_out(stage) != active->plan.is_out(stage)) return false;
    if (!plan.is_out(stage)) return is_same(stage);
    if (has_stage(plan.mirrored, stage) != has_stage(active->plan.mirrored, stage)) return false;
    if (has_stage(plan.mirrored, stage))
      return plan.keeper_of(stage) == active->plan.keeper_of(stage) && work_on({*plan.keeper_of(stage)});
    return std::ranges::all_of(scheduler::sources_of(active->spec, active->plan.stages_out, stage), is_same);
  };
  for (const auto& [key, stages] : active->plan.learners) {
    const auto node = nodes.find(key);
    const bool begun = node != nodes.end() && works_under(node->second, active->plan.epoch) &&
                       node->second.progress->step > 0;
    if (begun && !learns_in_vain(key) && std::ranges::all_of(stages, has_sources))
      lessons.emplace(key, stages);
  }
  return lessons;
}

void SchedulerCore::State::note_out(const Plan& plan) {
  std::erase_if(active->out_since, [&](const auto& entry) { return !plan.is_out(entry.first); });
  for (const std::uint32_t stage : plan.stages_out)
    active->out_since.try_emplace(stage, row(active->id).commit.value_or(0));
}

void SchedulerCore::State::adopt_for_rest(Plan plan) {
  JobRow& job = row(active->id);
  assign_mirrors(plan);
  plan.learners = lessons_that_go_on(plan);
  std::string gone;
  for (const net::Member& member : job.view.members)
    if (!plan.stages_of.contains(member.key)) gone += (gone.empty() ? "" : ", ") + member.nickname;
  // Everybody else begins anew: who learned a stage may have missed something, and who was given one.
  std::vector<net::NodeKey> ended;
  for (const auto& [key, node] : nodes)
    if (has_part(key) && !plan.stages_of.contains(key) && !plan.learners.contains(key)) {
      active->lost.insert({key, node.member.boot});
      ended.push_back(key);
    }
  active->gone.clear();
  // Those that may hold what the plan gives them have still to say so.
  std::erase_if(active->unproven, [&](const net::NodeKey& key) { return !plan.stages_of.contains(key); });
  active->failed_lessons.clear();
  active->prove_by_us.reset();
  if (!active->unproven.empty()) expect_successors();
  active->spare.clear();
  active->host_after_us = now_us + host_wait_us;
  std::erase_if(active->outages, [&](const auto& entry) { return !plan.is_out(entry.first); });
  note_out(plan);
  for (const std::uint32_t stage : plan.stages_out)
    if (active->loss)
      active->outages.try_emplace(stage, Active::Outage{active->loss->seen_us, active->loss->detect_us,
                                                        now_us - active->loss->seen_us, 0});
  active->loss.reset();
  active->plan = std::move(plan);
  job.last_epoch = std::max(job.last_epoch, active->plan.epoch);
  job.view = members_of(active->plan);
  job.plan = to_json(active->plan);
  job.plan_at_commit = false;
  job.offered = nullptr;
  note_handing_over(job);
  // Whoever leads now was not asked for one.
  active->snapshot_asked = 0;
  active->start_deadline_us.reset();
  save(job);
  withdraw_offer();
  for (const net::NodeKey& key : ended)
    post_end(nodes.at(key), job.id, "a node was lost; it goes on without this one for now", last_epoch());
  log(net::LogLevel::info, job.id,
      "plan " + std::to_string(active->plan.epoch) + ", without " + gone + predicted_text(active->plan));
  for (const net::Member& member : job.view.members) send_start(nodes.at(member.key));
  for (const auto& [key, stages] : active->plan.learners)
    if (!active->plan.stages_of.contains(key)) send_start(nodes.at(key));
  // Whoever came back anew while the plan without it was made.
  for (const auto& [key, node] : nodes)
    if (node.greeted && !has_part(key)) ask_to_prepare(node);
}

}  // namespace sidestep::scheduler

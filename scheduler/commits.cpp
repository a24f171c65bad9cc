// CommitReport: the run record grows by one step, and the job's row follows.
#include <algorithm>

#include "scheduler/plan_model.h"
#include "scheduler/record.h"
#include "scheduler/scheduler_state.h"

namespace sidestep::scheduler {
namespace {

// Reports that may wait for an earlier one; the lead origin sends them in order, few at a time.
constexpr std::size_t early_reports_max = 64;
// In a job's row, which is written at each commit; the record has all.
constexpr std::size_t recoveries_kept = 50;

// Those of which no node has said anything.
std::vector<std::uint32_t> stages_untold(const Snapshot& snapshot, const Plan& plan) {
  std::vector<std::uint32_t> stages;
  for (std::uint32_t stage = 0; stage < plan.stage_count(); ++stage)
    if (std::ranges::none_of(snapshot.copies, [&](const auto& copy) { return copy.stage == stage; }))
      stages.push_back(stage);
  return stages;
}

}  // namespace

void SchedulerCore::State::on(const net::NodeKey& peer, const net::Envelope& envelope,
                              const net::CommitReport& report) {
  const Node* node = sender(peer, envelope);
  if (node == nullptr) return;
  if (!active || active->id != report.scope.job || is_stale(row(active->id), report.scope) ||
      report.scope.step < next_step()) {
    // Its weights are there: what comes of that was in the record before it went back.
    if (active && active->id == report.scope.job && row(active->id).state == JobState::starting &&
        report.scope.epoch == active->plan.epoch && peer == active->plan.lead_origin())
      begin_running();
    acknowledge(peer, envelope);  // out of date: the job has ended or the step is kept already
    return;
  }
  // The lead origin of the plan that follows may be heard before the Commit that names it.
  const bool leads_next = active->change && report.scope.epoch == active->change->plan.epoch &&
                          peer == active->change->plan.lead_origin();
  if (peer != active->plan.lead_origin() && !leads_next) {
    log(net::LogLevel::warning, active->id,
        "dropped a CommitReport from " + label(node->member) + ": it is not the lead origin");
    acknowledge(peer, envelope);
    return;
  }
  if (report.scope.step > next_step()) {
    // Not acknowledged: should this scheduler restart, it must come again.
    if (active->early_reports.size() < early_reports_max)
      active->early_reports.insert_or_assign(report.scope.step, Active::Report{peer, envelope});
    return;
  }
  take_report(peer, envelope, report);
  while (active) {
    auto early = active->early_reports.extract(next_step());
    if (early.empty()) return;
    const Active::Report& waiting = early.mapped();
    take_report(waiting.peer, waiting.envelope, std::get<net::CommitReport>(waiting.envelope.message));
  }
}

std::uint64_t SchedulerCore::State::next_step() const {
  const JobRow& job = *find_row(active->id);
  return job.commit ? *job.commit + 1 : active->spec.first_commit();
}

void SchedulerCore::State::begin_running() {
  JobRow& job = row(active->id);
  set_state(job, JobState::running);
  save(job);
  log(net::LogLevel::info, job.id, "all stages are ready, training starts");
}

void SchedulerCore::State::take_recoveries(JobRow& job, RecordStep& step) {
  for (auto& [stage, outage] : active->outages)
    if (outage.first_step_us == 0 && step.epoch >= active->plan.epoch)
      outage.first_step_us = now_us - outage.seen_us;
  for (RecordRecovery& recovery : step.recoveries) {
    const auto outage = active->outages.find(recovery.stage);
    std::string text = "stage " + std::to_string(recovery.stage) + " is back since step " +
                       std::to_string(step.step) + ", as " + label(recovery.node) +
                       " rebuilt it from the state of commit " + std::to_string(recovery.commit) + " (" +
                       recovery.policy + ")";
    if (outage != active->outages.end()) {
      recovery.detect_us = outage->second.detect_us;
      recovery.replan_us = outage->second.replan_us;
      recovery.first_step_us = outage->second.first_step_us;
      text += ": seen after " + milliseconds(recovery.detect_us) + ", plan without it after " +
              milliseconds(recovery.replan_us) + " more, first step after " +
              milliseconds(recovery.first_step_us) + ", rebuilt in " + milliseconds(recovery.duration_us) +
              ", back after " + milliseconds(now_us - outage->second.seen_us);
      active->outages.erase(outage);
    }
    log(net::LogLevel::info, job.id, text);
    ++job.recovered;
    nlohmann::json entry = to_json(recovery);
    entry["step"] = step.step;
    job.recoveries.push_back(std::move(entry));
    if (job.recoveries.size() > recoveries_kept) job.recoveries.erase(job.recoveries.begin());
  }
}

void SchedulerCore::State::take_report(const net::NodeKey& peer, const net::Envelope& envelope,
                                       const net::CommitReport& report) {
  Result<RecordStep> parsed = parse_record_step(report.record);
  if (!parsed.ok() || parsed.value().step != report.scope.step) {
    acknowledge(peer, envelope);
    end_active(JobState::failed, label(nodes.at(peer).member) + ": sent no proper run record of step " +
                                     std::to_string(report.scope.step) + ": " +
                                     (parsed.ok() ? "it is of another step" : parsed.status().message()));
    return;
  }
  // The end is part of the record, which is stored in one piece: the row may be a step behind after a crash.
  RecordStep step = std::move(parsed).value();
  step.end = report.end;
  JobRow& job = row(active->id);
  take_recoveries(job, step);
  // Stored first: what is acknowledged is never asked for again.
  persist(AppendRecord{job.id, step.step, to_json(step)});
  take_step(job, step);
  if (job.state == JobState::starting) begin_running();
  watch_step(step);
  if (report.checkpoint) expect_checkpoint(step.step, report.scope.epoch);
  const bool adopts = active->change && active->change->plan.epoch == report.next_epoch;
  if (adopts) adopt_offered();
  save(job);
  acknowledge(peer, envelope);
  obey_failures(step.step + 1);
  if (adopts) {
    lose_dead_members("was lost while the plan that it has a part in was on its way");
    // A plan for those that are left of the plan before is void.
    if (active && active->loss) active->planning.reset();
    plan_for_rest();
  }
  end_if_finished();
}

// Two nodes that reach this scheduler but not each other would hold up the queue for ever.
void SchedulerCore::State::end_if_stuck_at_start() {
  if (!active || active->planning || active->loss || row(active->id).state != JobState::starting) return;
  if (!active->start_deadline_us) active->start_deadline_us = now_us + options.start_limit_us;
  if (now_us < *active->start_deadline_us) return;
  std::string text = "training has not begun " + std::to_string(options.start_limit_us / 1'000'000) +
                     " s after the plan; can its nodes reach each other?";
  for (const auto& [key, stages] : active->plan.stages_of) {
    const Node& node = nodes.at(key);
    const bool began = node.progress && node.progress->job == active->id;
    text += "; " + label(node.member) + ": " + (began ? node.progress->activity : "has not begun");
  }
  end_active(JobState::failed, text);
}

bool SchedulerCore::State::committed_all() const {
  if (!active) return false;
  const JobRow* job = find_row(active->id);
  return job->commit &&
         (!job->end_reason.empty() || *job->commit >= static_cast<std::uint64_t>(active->spec.final_step()));
}

// The lead origin's report overtakes the last Commit on its way to the others; a job is done when every node
// that is still there has applied it and told of its snapshot, so that the trained model can be exported from
// then on.
void SchedulerCore::State::end_if_finished() {
  if (!committed_all()) return;
  const JobRow& job = row(active->id);
  if (!active->finish_deadline_us) active->finish_deadline_us = now_us + options.finish_limit_us;
  std::string missing;
  for (const net::Member& member : job.view.members) {
    const auto found = nodes.find(member.key);
    if (found == nodes.end() || found->second.member.boot != member.boot) continue;  // lost: it tells no more
    const Node& node = found->second;
    const std::vector<std::uint32_t>& stages = active->plan.stages_of.at(member.key);
    const bool applied =
        node.progress && node.progress->job == active->id && node.progress->step >= *job.commit;
    const bool told = std::all_of(stages.begin(), stages.end(), [&](std::uint32_t stage) {
      return has_copy(job, *job.commit, stage, member.key);
    });
    if (!applied || !told) missing += (missing.empty() ? "" : ", ") + label(node.member);
  }
  if ((!missing.empty() || active->checkpoint) && now_us < *active->finish_deadline_us) return;
  give_up_checkpoint("it is not written " + std::to_string(options.finish_limit_us / 1000) +
                     " ms after the last commit");
  if (!missing.empty())
    log(net::LogLevel::warning, active->id,
        "did not say in " + std::to_string(options.finish_limit_us / 1000) +
            " ms that it has applied and saved the last commit: " + missing);
  end_committed();
}

void SchedulerCore::State::end_committed() {
  JobRow& job = row(active->id);
  std::string reason = job.end_reason;
  std::vector<std::uint32_t> lost = active->plan.stages_out;
  // A node may have died after the last Commit, before it had saved its stage: `export` can do without. Where
  // one says why it has not, the disk is what has to be mended.
  if (job.snapshot_coming && job.snapshot_coming->commit == *job.commit) {
    lost = stages_untold(*job.snapshot_coming, active->plan);
    const bool rest_is_saved = std::ranges::all_of(
        job.snapshot_coming->copies, [&](const auto& copy) { return job.snapshot_coming->has(copy.stage); });
    if (rest_is_saved && can_rebuild(lost)) job.snapshot = *std::exchange(job.snapshot_coming, std::nullopt);
  }
  if (!job.snapshot || job.snapshot->commit != *job.commit) {
    reason += (reason.empty() ? "" : "; ") + std::string("its last state is not saved whole: ") +
              unsaved(job, active->plan);
    log(net::LogLevel::warning, job.id, reason);
  } else if (!lost.empty()) {
    reason += (reason.empty() ? "" : "; ") + stage_list(lost) + (lost.size() == 1 ? " was" : " were") +
              " lost and not back at the last commit: `sidestep export` makes what is missing out of its "
              "neighbours";
    log(net::LogLevel::warning, job.id, reason);
  }
  end_active(job.end_reason.empty() ? JobState::done : JobState::failed, reason);
}

}  // namespace sidestep::scheduler

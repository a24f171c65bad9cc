// Snapshots: which node keeps which stage of a job on its disk, and how an operator gets at them.
#include <algorithm>

#include "scheduler/options.h"
#include "scheduler/scheduler_state.h"

namespace sidestep::scheduler {
namespace {

std::string name_in(const net::View& view, const net::NodeKey& key) {
  for (const net::Member& member : view.members)
    if (member.key == key) return member.nickname + " (" + key.short_name() + ")";
  return key.short_name();
}

// Of the stages that no node has saved: what each of their nodes said.
std::string problems_of(const JobRow& job, const Snapshot& snapshot, const Plan& plan) {
  std::string text;
  for (std::uint32_t stage = 0; stage < plan.stage_count(); ++stage) {
    std::string problems;
    bool saved = false;
    for (const SnapshotCopy& copy : snapshot.copies) {
      if (copy.stage != stage) continue;
      saved |= copy.problem.empty();
      problems += (problems.empty() ? "" : ", ") + name_in(job.view, copy.node) + ": " + copy.problem;
    }
    if (!saved)
      text += (text.empty() ? "stage " : "; stage ") + std::to_string(stage) + ": " +
              (problems.empty() ? plan.is_out(stage) ? "it is lost and not rebuilt yet"
                                                     : "no node has said that it saved it"
                                : problems);
  }
  return text;
}

// Some node has saved each stage; of the last commit, each that is not out: `export` rebuilds that one.
bool is_whole(const Snapshot& snapshot, const Plan& plan, bool last) {
  for (std::uint32_t stage = 0; stage < plan.stage_count(); ++stage)
    if (!(last && plan.is_out(stage)) && !snapshot.has(stage)) return false;
  return true;
}

// Every node of the job that holds one of the missing stages has said why it is not saved.
bool hopeless(const Snapshot& snapshot, const Plan& plan) {
  for (std::uint32_t stage = 0; stage < plan.stage_count(); ++stage) {
    std::size_t failed = 0;
    for (const SnapshotCopy& copy : snapshot.copies)
      if (copy.stage == stage && !copy.problem.empty() && plan.holds(copy.node, stage)) ++failed;
    if (!plan.is_out(stage) && failed == plan.replicas(stage).size()) return true;
  }
  return false;
}

}  // namespace

bool SchedulerCore::State::has_copy(const JobRow& job, std::uint64_t commit, std::uint32_t stage,
                                    const net::NodeKey& node) {
  for (const std::optional<Snapshot>* snapshot : {&job.snapshot, &job.snapshot_coming}) {
    if (!*snapshot || (*snapshot)->commit != commit) continue;
    for (const SnapshotCopy& copy : (*snapshot)->copies)
      if (copy.stage == stage && copy.node == node) return true;
  }
  return false;
}

std::string SchedulerCore::State::unsaved(const JobRow& job, const Plan& plan) {
  std::string text = job.snapshot_coming ? problems_of(job, *job.snapshot_coming, plan)
                                         : "no node has said that it saved its stages";
  if (job.snapshot)
    text += "; the newest whole state is that of commit " + std::to_string(job.snapshot->commit);
  return text;
}

void SchedulerCore::State::on(const net::NodeKey& peer, const net::Envelope& envelope,
                              const net::SnapshotTaken& taken) {
  const Node* node = sender(peer, envelope);
  if (node == nullptr) return;
  JobRow* job = find_row(taken.scope.job);
  // It has overtaken the report of the Commit that names this plan: not acknowledged, it comes again.
  if (job != nullptr && active && active->id == job->id && active->change &&
      taken.scope.epoch == active->change->plan.epoch)
    return;
  if (job != nullptr && is_stale(*job, taken.scope)) return acknowledge(peer, envelope);
  const Result<Plan> plan = parse_plan(job == nullptr ? nlohmann::json() : job->plan);
  if (!plan.ok() || plan.value().epoch < taken.scope.epoch || !plan.value().holds(peer, taken.stage)) {
    log(net::LogLevel::warning, job == nullptr ? "" : job->id,
        "dropped a SnapshotTaken of stage " + std::to_string(taken.stage) + " from " + label(node->member) +
            ": it does not hold that stage in a plan of this number");
    return acknowledge(peer, envelope);
  }
  const std::uint64_t commit = taken.scope.step;
  // It may have overtaken the reports of its commit and those before: not acknowledged, it comes again.
  if (!job->commit || commit > *job->commit + 1) {
    log(net::LogLevel::debug, job->id,
        "SnapshotTaken of commit " + std::to_string(commit) + " from " + label(node->member) +
            " has to wait: there is no such commit yet");
    return;
  }
  if (has_copy(*job, commit, taken.stage, peer)) return acknowledge(peer, envelope);
  const SnapshotCopy copy{taken.stage, peer, taken.elements, taken.digest, taken.problem};
  const std::uint64_t newest = std::max(job->snapshot ? job->snapshot->commit : 0,
                                        job->snapshot_coming ? job->snapshot_coming->commit : 0);
  if (job->snapshot && commit == job->snapshot->commit) {
    job->snapshot->copies.push_back(copy);  // one more replica
  } else if (commit >= newest) {
    if (!job->snapshot_coming || job->snapshot_coming->commit != commit)
      job->snapshot_coming = Snapshot{commit, {}};
    job->snapshot_coming->copies.push_back(copy);
    const bool last =
        active && active->id == job->id &&
        (!job->end_reason.empty() || commit >= static_cast<std::uint64_t>(active->spec.final_step()));
    if (is_whole(*job->snapshot_coming, plan.value(), last)) {
      job->snapshot = std::move(job->snapshot_coming);
      job->snapshot_coming.reset();
      log(net::LogLevel::info, job->id,
          "snapshot of commit " + std::to_string(commit) + " is whole" +
              (plan.value().stages_out.empty()
                   ? ""
                   : ", but for " + stage_list(plan.value().stages_out) + ", which nobody holds"));
    }
  } else {
    return acknowledge(peer, envelope);  // of an older one, which nobody will ask for
  }
  // Stored first: what is acknowledged is never told again.
  save(*job);
  acknowledge(peer, envelope);
  if (active && active->id == job->id) end_if_finished();
}

void SchedulerCore::State::ask_for_snapshot(std::uint64_t at_least) {
  const auto lead = nodes.find(active->plan.lead_origin());
  if (lead == nodes.end() || active->snapshot_asked >= at_least) return;
  active->snapshot_asked = at_least;
  const JobRow& job = row(active->id);
  post(lead->second, net::TakeSnapshot{job.id, job.snapshot ? job.snapshot->commit : 0});
}

Result<nlohmann::json> SchedulerCore::State::find_snapshot(const net::NodeKey& peer,
                                                           const nlohmann::json& body) {
  std::string id;
  std::uint64_t at_least = 0;
  bool rebuild = false;
  OptionTable table;
  table.add("job", id, "which job").required();
  table.add("at_least", at_least, "of this commit or a later one, while the job runs");
  table.add("rebuild", rebuild, "go on without a stage that was saved only where nobody is");
  Problems problems("export");
  table.read(body, problems);
  if (!problems.empty()) return problems.status();
  const Result<JobRow*> found = wanted_job(body);
  if (!found.ok()) return found.status();
  const JobRow& job = *found.value();
  admit_guest(peer);
  if (ended(job.state)) {
    if (job.snapshot) return sources_of(job, rebuild);
    const Result<Plan> plan = parse_plan(job.plan);
    return Status::not_found("job " + job.id + " has ended without a saved state (" +
                             std::string(to_string(job.state)) + "); " +
                             (plan.ok() && job.snapshot_coming
                                  ? unsaved(job, plan.value())
                                  : "one is saved at the last commit, and when `sidestep export` asks while "
                                    "the job runs"));
  }
  if (job.state != JobState::running)
    return Status::refused("job " + job.id + " has no weights yet, it is " +
                           std::string(to_string(job.state)) + "; wait for its first commit");
  // The last commit saves its state unasked, and none follows it.
  const bool last = committed_all();
  if (at_least == 0) at_least = last ? *job.commit : *job.commit + 1;
  if (job.snapshot && job.snapshot->commit >= at_least) return sources_of(job, rebuild);
  if (job.snapshot_coming && job.snapshot_coming->commit >= at_least &&
      hopeless(*job.snapshot_coming, active->plan))
    return Status::io("the snapshot of commit " + std::to_string(job.snapshot_coming->commit) + " of job " +
                      job.id + " was not saved: " + unsaved(job, active->plan));
  if (!last && !active->plan.stages_out.empty())
    return nlohmann::json{{"job", job.id},
                          {"ready", false},
                          {"at_least", at_least},
                          {"waiting", "stage " + std::to_string(active->plan.stages_out.front()) +
                                          ", which was lost and is being rebuilt"}};
  if (!last) ask_for_snapshot(at_least);
  const bool coming = last || (job.snapshot_coming && job.snapshot_coming->commit >= at_least);
  return nlohmann::json{
      {"job", job.id},
      {"ready", false},
      {"at_least", at_least},
      {"waiting", coming ? "nodes to save the state of commit " +
                               std::to_string(last ? *job.commit : job.snapshot_coming->commit)
                         : "the commit after step " + std::to_string(*job.commit)}};
}

Result<nlohmann::json> SchedulerCore::State::sources_of(const JobRow& job, bool rebuild) const {
  const Result<Plan> plan = parse_plan(job.plan);
  if (!plan.ok()) return plan.status();
  nlohmann::json stages = nlohmann::json::array();
  std::string lost;
  for (std::uint32_t stage = 0; stage < plan.value().stage_count(); ++stage) {
    nlohmann::json sources = nlohmann::json::array();
    std::string away;
    std::uint64_t elements = 0;
    for (const SnapshotCopy& copy : job.snapshot->copies) {
      if (copy.stage != stage || !copy.problem.empty()) continue;
      elements = copy.elements;
      const auto node = nodes.find(copy.node);
      if (node == nodes.end() || !node->second.greeted) {
        away += (away.empty() ? "" : ", ") + name_in(job.view, copy.node);
        continue;
      }
      sources.push_back({{"node", copy.node.hex()},
                         {"nickname", node->second.member.nickname},
                         {"address", node->second.member.data_address},
                         {"digest", copy.digest}});
    }
    if (!away.empty() && sources.empty() && (stage == 0 || !rebuild))
      lost += (lost.empty() ? "stage " : "; stage ") + std::to_string(stage) + " was saved by " + away;
    stages.push_back({{"stage", stage}, {"elements", elements}, {"sources", std::move(sources)}});
  }
  if (!lost.empty())
    return Status::not_found(
        "job " + job.id + ", commit " + std::to_string(job.snapshot->commit) + ": " + lost +
        ", and nobody of them is here; start them again with the same key and "
        "data_dir, or have a stage other than 0 made out of its neighbours by --rebuild");
  return nlohmann::json{{"job", job.id},
                        {"ready", true},
                        {"state", to_string(job.state)},
                        {"commit", job.snapshot->commit},
                        {"spec", job.spec},
                        {"recoveries", job.recoveries},
                        {"recovered", job.recovered},
                        {"stages", std::move(stages)}};
}

}  // namespace sidestep::scheduler

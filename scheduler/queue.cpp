// A job's way: queued, preparing (who can take part, and how fast), starting (the plan is out), running, and
// one of three ends.
#include <algorithm>
#include <limits>

#include "scheduler/memory.h"
#include "scheduler/scheduler_state.h"

namespace sidestep::scheduler {
namespace {

// A rebuild that failed is tried again after this.
constexpr std::int64_t rebuild_again_us = 2'000'000;

// EndJob::epoch of a job that is over.
constexpr std::uint64_t for_ever = std::numeric_limits<std::uint64_t>::max();

bool legal(JobState from, JobState to) {
  switch (from) {
    case JobState::queued:
      return to == JobState::preparing || to == JobState::cancelled || to == JobState::failed;
    // Back to queued: the scheduler restarted and asks everybody again.
    case JobState::preparing:
      return to == JobState::starting || to == JobState::queued || ended(to);
    // Back to queued: it goes back to a checkpoint.
    case JobState::starting:
      return to == JobState::running || to == JobState::queued || to == JobState::failed ||
             to == JobState::cancelled;
    case JobState::running:
      return to == JobState::queued || ended(to);
    case JobState::done:
    case JobState::failed:
    case JobState::cancelled:
      return false;
  }
  return false;
}

}  // namespace

JobRow* SchedulerCore::State::find_row(const std::string& id) {
  for (auto& [submission, one] : jobs)
    if (one.id == id) return &one;
  return nullptr;
}

const JobRow* SchedulerCore::State::find_row(const std::string& id) const {
  return const_cast<State*>(this)->find_row(id);
}

JobRow& SchedulerCore::State::row(const std::string& id) {
  JobRow* found = find_row(id);
  SIDESTEP_ASSERT(found != nullptr);
  return *found;
}

void SchedulerCore::State::set_state(JobRow& job, JobState to) {
  SIDESTEP_ASSERT(legal(job.state, to));
  job.state = to;
}

void SchedulerCore::State::start_next_job() {
  // Nodes that were members before a restart are back or dead within the silence limit; a job that has just
  // ended is waited for, so that no node holds two.
  if (active || !ending.empty()) return;
  const auto next = std::find_if(jobs.begin(), jobs.end(),
                                 [](const auto& entry) { return entry.second.state == JobState::queued; });
  if (next == jobs.end() || !all_greeted()) return;
  JobRow& job = next->second;
  Result<JobSpec> spec = parse_job(spec_of_run(job), job.id);
  if (!spec.ok()) {
    // Stored by a version that knew other keys.
    job.reason = spec.status().message();
    job.ended_us = wall_us();
    set_state(job, JobState::failed);
    save(job);
    log(net::LogLevel::error, job.id, "job failed: " + job.reason);
    return;
  }
  active.emplace(Active{});  // clang 14 takes a nested default only by copy
  active->id = job.id;
  active->spec = std::move(spec).value();
  active->deadline_us = now_us + options.prepare_limit_us;
  job.started_us = wall_us();
  set_state(job, JobState::preparing);
  save(job);
  log(net::LogLevel::info, job.id,
      "job starts: asks " + std::to_string(nodes.size()) + (nodes.size() == 1 ? " node" : " nodes") +
          " for their speed, memory and data");
  for (const auto& [key, node] : nodes) ask_to_prepare(node);
  plan_when_prepared();
}

void SchedulerCore::State::ask_to_prepare(const Node& node) {
  if (!active->answers.try_emplace(node.member.key).second) return;
  const JobRow& job = row(active->id);
  nlohmann::json spec = spec_of_run(job);
  // Whoever comes later learns its stages from others, and need not see what they began with.
  if (job.state != JobState::preparing) spec.erase("resume");
  post(node, net::PrepareJob{active->id, std::move(spec)});
}

void SchedulerCore::State::on(const net::NodeKey& peer, const net::Envelope& envelope,
                              const net::Prepared& prepared) {
  const Node* node = sender(peer, envelope);
  if (node == nullptr) return;
  acknowledge(peer, envelope);
  if (!active || active->id != prepared.job) return;
  const auto answer = active->answers.find(peer);
  if (answer == active->answers.end() || answer->second) return;
  answer->second = prepared;
  active->unplanned.clear();
  log(prepared.problem.empty() ? net::LogLevel::info : net::LogLevel::warning, prepared.job,
      label(node->member) + ": " +
          (prepared.problem.empty()
               ? "layer " + std::to_string(prepared.layer_us) + " us, head " +
                     std::to_string(prepared.head_us) + " us, " + mebibytes(prepared.memory_bytes) +
                     ", of which the daemon takes " + mebibytes(prepared.daemon_bytes) +
                     (prepared.has_data ? ", has the data" : "")
               : prepared.problem));
  plan_when_prepared();
}

void SchedulerCore::State::plan_when_prepared() {
  if (!active || active->planning || row(active->id).state != JobState::preparing) return;
  if (!active->unplanned.empty()) return;
  const bool all = std::all_of(active->answers.begin(), active->answers.end(),
                               [](const auto& answer) { return answer.second.has_value(); });
  if (!all && now_us < active->deadline_us) return;
  settle_digests();
  settle_precision();
  start_planning(placement_request(last_epoch() + 1));
}

void SchedulerCore::State::start_planning(PlacementRequest request) {
  active->planning = next_id++;
  out->push_back(StartPlanning{*active->planning, std::move(request)});
}

bool SchedulerCore::State::can_take_part(const net::Prepared& answer) const {
  if (!answer.problem.empty()) return false;
  if (!active->spec.resume.directory.empty() && find_row(active->id)->state == JobState::preparing)
    return answer.init_digest == active->spec.resume.digest;
  return active->spec.init_from.empty() || answer.init_digest == active->spec.init_from_digest;
}

// False if the digest is none: digests come from peers, and one must not make the job unreadable.
bool SchedulerCore::State::settle(std::string& digest_of_job, const std::string& digest) {
  if (digest.empty()) return false;
  digest_of_job = digest;
  if (!parse_job(to_json(active->spec), active->id).ok()) {
    digest_of_job.clear();
    return false;
  }
  keep_settled();
  return true;
}

// A job without a digest takes that of the lowest key that has the files; from then on all must have the
// same. The weights come first: a node that has others is no example for the data.
void SchedulerCore::State::settle_digests() {
  JobSpec& spec = active->spec;
  if (!spec.init_from.empty() && spec.init_from_digest.empty())
    for (const auto& [key, answer] : active->answers)
      if (answer && answer->problem.empty() && settle(spec.init_from_digest, answer->init_digest)) break;
  if (ResumeSpec& resume = spec.resume;
      !resume.directory.empty() && (resume.digest.empty() || resume.commit < 0))
    for (const auto& [key, answer] : active->answers) {
      if (!answer || !answer->problem.empty()) continue;
      const std::int64_t commit =
          std::exchange(resume.commit, static_cast<std::int64_t>(answer->init_commit));
      if (settle(resume.digest, answer->init_digest)) break;
      resume.commit = commit;
    }
  if (spec.data.digest.empty())
    for (const auto& [key, answer] : active->answers)
      if (answer && answer->has_data && can_take_part(*answer) &&
          settle(spec.data.digest, answer->data_digest))
        break;
}

// Both ends of every hop have to agree on the type of what travels, so the scheduler decides.
void SchedulerCore::State::settle_precision() {
  if (active->spec.precision != "auto") return;
  bool on_gpus = false, on_cpus = false;
  for (const auto& [key, answer] : active->answers) {
    if (!answer || !can_take_part(*answer)) continue;
    (nodes.at(key).resources.device.starts_with("cuda:") ? on_gpus : on_cpus) = true;
  }
  active->spec.resolve_precision(on_gpus && !on_cpus);
  keep_settled();
  log(net::LogLevel::info, active->id, "precision " + active->spec.precision);
}

PlacementRequest SchedulerCore::State::placement_request(std::uint64_t epoch) {
  PlacementRequest request{epoch, active->spec, {}, options.plan_work};
  for (const auto& [key, answer] : active->answers) {
    PlacementNode& node = request.nodes.emplace_back();
    node.key = key;
    node.nickname = nodes.at(key).member.nickname;
    if (nodes.at(key).leaving) {
      node.problem = "it is leaving: " + *nodes.at(key).leaving;
      continue;
    }
    if (!answer) {
      node.problem = "no answer to PrepareJob in " + std::to_string(options.prepare_limit_us / 1000) + " ms";
      continue;
    }
    node.problem = answer->problem;
    if (node.problem.empty() && !can_take_part(*answer)) {
      const std::string found = answer->init_digest.empty() ? "no digest" : answer->init_digest;
      const ResumeSpec& resume = active->spec.resume;
      node.problem =
          resume.directory.empty()
              ? "init_from " + active->spec.init_from + " is another folder there: it has " + found +
                    ", the job's has " + active->spec.init_from_digest + "; copy one folder to every node"
              : "the checkpoint in " + resume.directory + " is another one there: its manifest has " + found +
                    ", the job's has " + resume.digest + "; every node has to see the same folder";
      log(net::LogLevel::warning, active->id, label(nodes.at(key).member) + ": " + node.problem);
    }
    node.has_data = answer->has_data && answer->data_digest == active->spec.data.digest;
    node.data_problem = answer->data_problem;
    if (answer->has_data && active->spec.data.digest.empty()) {
      node.data_problem = "no node that can take part has settled which file it is";
    } else if (answer->has_data && !node.has_data) {
      node.data_problem = active->spec.data.name() + " is another file there: it has " + answer->data_digest +
                          ", the job's has " + active->spec.data.digest;
      log(net::LogLevel::warning, active->id, label(nodes.at(key).member) + ": " + node.data_problem);
    }
  }
  add_figures(request.nodes);
  return request;
}

void SchedulerCore::State::adopt(Plan plan) {
  JobRow& job = row(active->id);
  job.mirrors.clear();  // of a run before it went back
  assign_mirrors(plan);
  active->plan = std::move(plan);
  job.last_epoch = active->plan.epoch;
  job.view = members_of(active->plan);  // had one died meanwhile, this plan would have been asked for anew
  job.plan = to_json(active->plan);
  set_state(job, JobState::starting);
  save(job);
  std::string text = "plan " + std::to_string(active->plan.epoch) + ":";
  for (std::uint32_t stage = 0; stage < active->plan.stage_count(); ++stage) {
    text += (stage == 0 ? " stage " : "; stage ") + std::to_string(stage) + " on";
    for (const net::NodeKey& key : active->plan.replicas(stage)) text += ' ' + nodes.at(key).member.nickname;
  }
  std::string idle;
  for (const auto& [key, answer] : active->answers)
    if (answer && can_take_part(*answer) && !active->plan.stages_of.contains(key))
      idle += (idle.empty() ? "; not needed: " : ", ") + nodes.at(key).member.nickname;
  log(net::LogLevel::info, job.id, text + predicted_text(active->plan) + idle);
  for (const net::Member& member : job.view.members) send_start(nodes.at(member.key));
}

void SchedulerCore::State::send_start(const Node& node) {
  const JobRow& job = row(active->id);
  post(node, net::StartJob{job.id, spec_of_run(job), job.plan, job.view, job.commit, job.plan_at_commit});
}

void SchedulerCore::State::on(const net::NodeKey& peer, const net::Envelope& envelope,
                              const net::JobFault& fault) {
  const Node* node = sender(peer, envelope);
  if (node == nullptr) return;
  // Of a plan whose Commit was not reported yet: it comes again.
  const bool early = active && active->id == fault.scope.job && active->change &&
                     fault.scope.epoch == active->change->plan.epoch;
  if (early && !fault.learning) active->change->faulted.insert(peer);
  if (early && (fault.learning || !active->loss)) return;
  acknowledge(peer, envelope);
  if (early) return lose_successor(*node, fault.reason);
  if (!active || active->id != fault.scope.job || is_stale(row(active->id), fault.scope)) return;
  const JobState state = row(active->id).state;
  const bool planned = state == JobState::starting || state == JobState::running;
  if (planned && (!active->plan.stages_of.contains(peer) || !takes_part(node->member))) {
    log(net::LogLevel::warning, active->id,
        label(node->member) + ", which holds no stage of the job: " + fault.reason);
    if (active->change && active->change->told && !active->change->plan.stages(peer).empty())
      return lose_successor(*node, fault.reason);
    if (active->gone.contains(peer)) expect_successors();
    const std::vector<std::uint32_t>& lessons = active->plan.lessons(peer);
    drop_mirrors([&](std::uint32_t stage, const KeptMirror&) {
      return has_stage(lessons, stage) && has_stage(active->plan.mirrored, stage);
    });
    if (std::ranges::any_of(lessons, [&](std::uint32_t stage) { return active->plan.is_out(stage); }))
      active->grow_after_us = now_us + rebuild_again_us;
    else
      ++active->failures[peer];
    active->lost.insert({peer, node->member.boot});
    post_end(*node, active->id, "it goes on without this node", last_epoch());
    return void_changes();  // one may give it a stage
  }
  if (planned && fault.learning) {
    if (!active->plan.learns(peer, *fault.learning)) return;  // out of date
    log(net::LogLevel::warning, active->id,
        label(node->member) + " goes on with what it holds: " + fault.reason);
    if (!active->failed_lessons.insert(peer).second) return;  // told again
    // What a stage is rebuilt from may be what failed.
    drop_mirrors([&](std::uint32_t stage, const KeptMirror&) {
      return stage == *fault.learning && has_stage(active->plan.mirrored, stage);
    });
    if (active->plan.is_out(*fault.learning))
      active->grow_after_us = now_us + rebuild_again_us;
    else
      ++active->failures[peer];
    return void_changes();
  }
  if (planned && active->unproven.contains(peer)) return lose_successor(*node, fault.reason);
  const std::string why =
      label(node->member) + ": " + fault.reason + " (step " + std::to_string(fault.scope.step) + ")";
  if (go_further_back(why)) return;
  end_active(JobState::failed, why);
}

void SchedulerCore::State::end_active(JobState state, const std::string& reason) {
  SIDESTEP_ASSERT(active && ended(state));
  JobRow& job = row(active->id);
  const bool planned = job.state == JobState::starting || job.state == JobState::running;
  job.reason = reason;
  job.ended_us = wall_us();
  set_state(job, state);
  save(job);
  const net::LogLevel level = state == JobState::failed ? net::LogLevel::error : net::LogLevel::info;
  log(level, job.id, "job " + std::string(to_string(state)) + (reason.empty() ? "" : ": " + reason));
  give_up_checkpoint("the job has ended");
  drop_orders();
  for (const auto& [key, node] : nodes)
    if (planned ? has_part(key) : active->answers.contains(key)) post_end(node, job.id, reason, for_ever);
  active.reset();
}

void SchedulerCore::State::drop_orders() {
  courier.drop_if([&](const net::NodeKey&, const net::Message& message) {
    const auto* prepare = std::get_if<net::PrepareJob>(&message);
    const auto* start = std::get_if<net::StartJob>(&message);
    return (prepare != nullptr && prepare->job == active->id) ||
           (start != nullptr && start->job == active->id);
  });
}

void SchedulerCore::State::post_end(const Node& node, const std::string& job, const std::string& reason,
                                    std::uint64_t epoch) {
  ending[post(node, net::EndJob{job, reason, epoch})] = node.member.key;
}

void SchedulerCore::State::take_lost_run(const Node& node) {
  const net::NodeKey& key = node.member.key;
  const auto is_to_hold = [&](const Plan& plan, const net::View& members) {
    return plan.stages_of.contains(key) &&
           std::ranges::find(members.members, node.member) != members.members.end();
  };
  if (is_to_hold(active->plan, row(active->id).view) ||
      (active->change && active->change->told && is_to_hold(active->change->plan, active->change->view)))
    return job_loses_node(net::Member(node.member), "has no run of the job any more");
  if (!active->plan.learners.contains(key)) return;
  active->lost.insert({key, node.member.boot});
  void_changes();
}

void SchedulerCore::State::job_meets_node(const Node& node, bool first) {
  const std::string held = node.progress ? node.progress->job : "";
  if (!held.empty() && (!active || active->id != held)) {
    const JobRow* job = find_row(held);
    const bool goes_on = job != nullptr && !ended(job->state);  // it went back
    post_end(node, held, job == nullptr ? "this scheduler does not know the job" : job->reason,
             goes_on ? job->last_epoch : for_ever);
  }
  if (!active || !node.greeted) return;
  const JobState state = row(active->id).state;
  // It missed that the job went back.
  if (held == active->id && state == JobState::preparing)
    post_end(node, held, "it went back, without this node", last_epoch());
  const bool planned = state == JobState::starting || state == JobState::running;
  const bool is_over = planned && (!takes_part(node.member) || !has_part(node.member.key));
  if (is_over && held == active->id)
    post_end(node, held, "it goes on without this node, which was declared dead", last_epoch());
  if (!planned || !has_part(node.member.key)) ask_to_prepare(node);
  if (is_over) return;
  if (first && state == JobState::running && held != active->id) return take_lost_run(node);
  // After a restart of the scheduler: whoever missed the plan gets it again.
  const bool missed =
      held != active->id ? state == JobState::starting : node.progress->epoch < active->plan.epoch;
  if ((state == JobState::starting || state == JobState::running) && missed &&
      (active->plan.stages_of.contains(node.member.key) || active->plan.learners.contains(node.member.key)))
    send_start(node);
}

void SchedulerCore::State::resume_active() {
  for (auto& [submission, job] : jobs) {
    if (job.state == JobState::preparing) {
      set_state(job, JobState::queued);
      save(job);
    }
    if (job.state != JobState::starting && job.state != JobState::running) continue;
    SIDESTEP_ASSERT(!active);
    Result<JobSpec> spec = parse_job(spec_of_run(job), job.id);
    Result<Plan> plan = parse_plan(job.plan);
    active.emplace(Active{});  // clang 14 takes a nested default only by copy
    active->id = job.id;
    if (!spec.ok() || !plan.ok()) {
      end_active(JobState::failed, "cannot go on after the scheduler's restart: " +
                                       (spec.ok() ? plan.status().message() : spec.status().message()));
      continue;
    }
    active->spec = std::move(spec).value();
    active->plan = std::move(plan).value();
    note_out(active->plan);
    restore_change(job);
    // Their end was decided, but what follows from it not yet stored when the scheduler stopped.
    lose_dead_members("was lost when the scheduler stopped");
    if (!active) continue;
    log(net::LogLevel::info, job.id, "job goes on after the scheduler's restart");
  }
}

}  // namespace sidestep::scheduler

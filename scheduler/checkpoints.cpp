// Checkpoints: the nodes of a job write its stages into a folder that all of them see, the lead origin the
// manifest. A job that has lost what cannot be had otherwise goes back to the newest one: it is prepared,
// planned and started anew, with the weights of that commit (design.md, Recovery 5).
#include <algorithm>

#include "scheduler/memory.h"
#include "scheduler/scheduler_state.h"

namespace sidestep::scheduler {
namespace {

// A job that went back waits so long for as many nodes as it has stages.
constexpr std::int64_t share_wait_us = 10'000'000;

std::string name_of(std::uint64_t commit) { return "the checkpoint of commit " + std::to_string(commit); }

}  // namespace

bool SchedulerCore::State::is_stale(const JobRow& job, const net::Scope& scope) {
  return scope.epoch != 0 && scope.epoch <= job.stale_epoch;  // 0: before its first plan is taken
}

void SchedulerCore::State::expect_checkpoint(std::uint64_t commit) {
  give_up_checkpoint("the next one is begun; is " + active->spec.recovery.directory + " slow?");
  active->checkpoint = Active::Coming{commit, {}, false};
}

void SchedulerCore::State::give_up_checkpoint(const std::string& why) {
  if (!active->checkpoint) return;
  log(net::LogLevel::warning, active->id, name_of(active->checkpoint->commit) + " is given up: " + why);
  active->checkpoint.reset();
}

void SchedulerCore::State::on(const net::NodeKey& peer, const net::Envelope& envelope,
                              const net::CheckpointWritten& written) {
  const Node* node = sender(peer, envelope);
  if (node == nullptr) return;
  const bool mine = active && active->id == written.scope.job && !is_stale(row(active->id), written.scope);
  const std::uint64_t commit = written.scope.step;
  // It has overtaken the report of its commit: not acknowledged, it comes again.
  if (mine && commit > row(active->id).commit.value_or(0)) return;
  acknowledge(peer, envelope);
  if (!mine || !active->checkpoint || active->checkpoint->commit != commit || active->checkpoint->complete)
    return;  // given up
  if (!has_part(peer) || written.stage >= active->plan.stage_count())
    return log(net::LogLevel::warning, active->id,
               "dropped a CheckpointWritten of stage " + std::to_string(written.stage) + " from " +
                   label(node->member) + ": it has no such part in the job");
  if (!written.problem.empty())
    return give_up_checkpoint("stage " + std::to_string(written.stage) + " at " + label(node->member) + ": " +
                              written.problem);
  std::map<std::uint32_t, CheckpointManifest::Stage>& stages = active->checkpoint->stages;
  stages.insert_or_assign(written.stage,
                          CheckpointManifest::Stage{written.stage, written.elements, written.digest});
  if (stages.size() < active->plan.stage_count()) return;
  const auto lead = nodes.find(active->plan.lead_origin());
  if (lead == nodes.end()) return give_up_checkpoint("its lead origin is gone");
  const JobRow& job = row(active->id);
  CheckpointManifest manifest{job.id, commit, wall_us(), job.spec, {}};
  for (const auto& [stage, one] : stages) manifest.stages.push_back(one);
  std::vector<std::uint64_t> drop;
  const auto kept = static_cast<std::size_t>(active->spec.recovery.checkpoints_kept) - 1;
  for (std::size_t i = 0; i + kept < job.checkpoints.size(); ++i) drop.push_back(job.checkpoints[i].commit);
  active->checkpoint->complete = true;
  post(lead->second, net::SealCheckpoint{job.id, commit, to_json(manifest), std::move(drop)});
}

void SchedulerCore::State::on(const net::NodeKey& peer, const net::Envelope& envelope,
                              const net::CheckpointSealed& sealed) {
  const Node* node = sender(peer, envelope);
  if (node == nullptr) return;
  acknowledge(peer, envelope);
  if (!active || active->id != sealed.job || !active->checkpoint || !active->checkpoint->complete ||
      active->checkpoint->commit != sealed.commit || !has_part(peer))
    return;
  if (!sealed.problem.empty()) {
    give_up_checkpoint(label(node->member) + ": " + sealed.problem);
  } else {
    active->checkpoint.reset();
    JobRow& job = row(active->id);
    std::erase_if(job.checkpoints, [&](const auto& one) { return one.commit >= sealed.commit; });
    job.checkpoints.push_back({sealed.commit, sealed.digest});
    const auto kept = static_cast<std::size_t>(active->spec.recovery.checkpoints_kept);
    if (job.checkpoints.size() > kept)
      job.checkpoints.erase(job.checkpoints.begin(),
                            job.checkpoints.end() - static_cast<std::ptrdiff_t>(kept));
    save(job);
    log(net::LogLevel::info, job.id,
        name_of(sealed.commit) + " is written: " + active->spec.recovery.directory + "/" + job.id + "/" +
            std::to_string(sealed.commit));
  }
  end_if_finished();
}

void SchedulerCore::State::go_back(const std::string& why) {
  JobRow& job = row(active->id);
  job.resumed = job.checkpoints.empty() ? std::nullopt : std::optional(job.checkpoints.back());
  const std::uint64_t first = parse_job(job.spec, job.id).value().first_commit();
  const std::uint64_t to = job.resumed ? job.resumed->commit : first;
  const std::uint64_t again = job.commit.value_or(to) - std::min(to, job.commit.value_or(to));
  log(net::LogLevel::warning, job.id,
      why + "; goes back to " +
          (job.resumed ? name_of(to) : "how it began, for there is no checkpoint of it yet") +
          (again > 0 ? ", " + std::to_string(again) + (again == 1 ? " step runs" : " steps run") + " again"
                     : ""));
  drop_orders();
  for (const auto& [key, node] : nodes)
    if (has_part(key)) post_end(node, job.id, "it goes back to commit " + std::to_string(to), last_epoch());
  ++job.went_back;
  job.stale_epoch = job.last_epoch;
  job.plan = nullptr;
  job.plan_at_commit = false;
  job.view = {};
  job.offered = nullptr;
  job.handing_over = nullptr;
  job.snapshot_coming.reset();
  if (job.snapshot && job.snapshot->commit > to) job.snapshot.reset();
  job.commit = job.resumed ? std::optional(to) : std::nullopt;
  job.end_reason.clear();
  set_state(job, JobState::queued);
  save(job);
  persist(CutRecord{job.id, job.resumed ? to + 1 : 0});
  active.reset();
}

void SchedulerCore::State::wait_for_nodes(const std::string& why) {
  const bool again = active->share_after_us != 0;
  active->unplanned = why;
  if (!again) active->share_after_us = now_us + share_wait_us;
  log(net::LogLevel::warning, active->id, "waits for nodes to go on with: " + why);
}

void SchedulerCore::State::share_out_stages() {
  if (!active || active->unplanned.empty() || active->planning || now_us < active->share_after_us) return;
  const StagesByNode shared = stages_shared_out();
  if (shared.empty()) return;
  log(net::LogLevel::info, active->id,
      "nobody else has come: " + std::to_string(shared.size()) +
          (shared.size() == 1 ? " node holds" : " nodes hold") + " all stages");
  active->unplanned.clear();
  start_planning(request_for(shared, options.plan_work));
}

// Stage 0 goes to the quickest that has the data, every other to whoever has the least to do with it.
StagesByNode SchedulerCore::State::stages_shared_out() const {
  StagesByNode shared;
  for (std::uint32_t stage = 0; stage < static_cast<std::uint32_t>(active->spec.pipeline.stages); ++stage) {
    const net::NodeKey* best = nullptr;
    std::int64_t least_us = 0;
    for (const auto& [key, answer] : active->answers) {
      if (!answer || !can_take_part(*answer) || nodes.at(key).leaving) continue;
      if (stage == 0 && !(answer->has_data && answer->data_digest == active->spec.data.digest)) continue;
      const auto held = shared.find(key);
      std::uint64_t bytes = answer->daemon_bytes + memory_need(active->spec, stage, 1).total();
      std::int64_t us = answer->layer_us;
      if (held != shared.end()) {
        us *= static_cast<std::int64_t>(held->second.size()) + 1;
        for (const std::uint32_t other : held->second) bytes += memory_need(active->spec, other, 1).total();
      }
      if (bytes > answer->memory_bytes || (best != nullptr && us >= least_us)) continue;
      best = &key;
      least_us = us;
    }
    if (best == nullptr) return {};
    shared[*best].push_back(stage);
  }
  return shared;
}

nlohmann::json SchedulerCore::State::spec_of_run(const JobRow& job) const {
  nlohmann::json spec = job.spec;
  if (job.resumed)
    spec["resume"] = {{"directory", spec.at("recovery").at("directory").get<std::string>() + "/" + job.id},
                      {"commit", job.resumed->commit},
                      {"digest", job.resumed->digest}};
  return spec;
}

void SchedulerCore::State::keep_settled() {
  JobRow& job = row(active->id);
  nlohmann::json spec = to_json(active->spec);
  if (job.resumed) spec["resume"] = job.spec.at("resume");
  job.spec = std::move(spec);
  save(job);
}

}  // namespace sidestep::scheduler

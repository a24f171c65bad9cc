// Checkpoints: the nodes of a job write its stages into a folder that all of them see, the lead origin the
// manifest. A job that has lost what cannot be had otherwise goes back to the newest one: it is prepared,
// planned and started anew, with the weights of that commit (design.md, Recovery 5).
#include <algorithm>
#include <cstdio>
#include <span>

#include "net/digest.h"
#include "scheduler/memory.h"
#include "scheduler/scheduler_state.h"

namespace sidestep::scheduler {
namespace {

// Of those that are due while another is being written, so many are left out.
constexpr int passed_max = 10;
// Of folders begun and not sealed, those that are deleted when one is: on a full disk none is for long.
constexpr std::size_t unsealed_max = 100;
// How often nodes that could not take part in a job that went back are asked again.
constexpr std::int64_t ask_again_wait_us = 5'000'000;
// A job that went back waits so long for as many nodes as it has stages.
constexpr std::int64_t share_wait_us = 10'000'000;

std::string name_of(std::uint64_t commit) { return "the checkpoint of commit " + std::to_string(commit); }

}  // namespace

bool SchedulerCore::State::is_stale(const JobRow& job, const net::Scope& scope) {
  return scope.epoch != 0 && scope.epoch <= job.stale_epoch;  // 0: before its first plan is taken
}

std::string SchedulerCore::State::checkpoint_directory(const JobRow& job) {
  // Jobs of other schedulers may have the same name.
  char number[16];
  std::snprintf(number, sizeof number, "%08x", static_cast<unsigned>(job.submitted_us & 0xffffffff));
  return job.spec.at("recovery").at("directory").get<std::string>() + "/" + job.id + "-" + number;
}

void SchedulerCore::State::expect_checkpoint(std::uint64_t commit, std::uint64_t epoch) {
  std::vector<std::string>& unsealed = row(active->id).unsealed;
  unsealed.push_back(checkpoint_folder(commit, epoch));
  if (unsealed.size() > unsealed_max) unsealed.erase(unsealed.begin());
  if (active->loss) return;  // one that writes it may be lost
  if (active->checkpoint && ++active->checkpoint->passed < passed_max) {
    if (active->checkpoint->passed == 1)
      log(net::LogLevel::warning, active->id,
          name_of(commit) + " is left out, as those after it: " + name_of(active->checkpoint->commit) +
              " is still being written; is " + active->spec.recovery.directory + " slow?");
    return;
  }
  give_up_checkpoint("it takes too long");
  active->checkpoint = Active::Coming{commit, epoch, {}, {}, {}, 0};
}

void SchedulerCore::State::give_up_checkpoint(const std::string& why) {
  if (!active->checkpoint) return;
  log(net::LogLevel::warning, active->id, name_of(active->checkpoint->commit) + " is given up: " + why);
  active->checkpoint.reset();
  // The next one deletes what there is of it.
  courier.drop_if([&](const net::NodeKey&, const net::Message& message) {
    const auto* seal = std::get_if<net::SealCheckpoint>(&message);
    return seal != nullptr && seal->job == active->id;
  });
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
  if (!mine || !active->checkpoint || active->checkpoint->commit != commit ||
      active->checkpoint->epoch != written.scope.epoch || active->checkpoint->sealer)
    return;  // given up, or left out
  if (!has_part(peer) || written.stage >= active->plan.stage_count())
    return log(net::LogLevel::warning, active->id,
               "dropped a CheckpointWritten of stage " + std::to_string(written.stage) + " from " +
                   label(node->member) + ": it has no such part in the job");
  if (!written.problem.empty())
    return give_up_checkpoint("stage " + std::to_string(written.stage) + " at " + label(node->member) + ": " +
                              written.problem);
  active->checkpoint->stages.insert_or_assign(
      written.stage, CheckpointManifest::Stage{written.stage, written.elements, written.digest});
  if (active->checkpoint->stages.size() == active->plan.stage_count()) seal_checkpoint();
}

void SchedulerCore::State::seal_checkpoint() {
  Active::Coming& coming = *active->checkpoint;
  const auto lead = nodes.find(active->plan.lead_origin());
  if (lead == nodes.end()) return give_up_checkpoint("its lead origin is gone");
  const JobRow& job = row(active->id);
  CheckpointManifest manifest{job.id, coming.commit, wall_us(), job.spec, {}};
  for (const auto& [stage, one] : coming.stages) manifest.stages.push_back(one);
  const std::string text =
      to_json(manifest).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  coming.sealer = lead->first;
  coming.digest = net::sha256(std::as_bytes(std::span(text)));
  // What is known to be there: this one takes the place of another only when it is, too.
  const auto kept = static_cast<std::size_t>(active->spec.recovery.checkpoints_kept);
  std::vector<std::string> drop = job.unsealed;
  std::erase(drop, checkpoint_folder(coming.commit, coming.epoch));
  for (std::size_t i = 0; i + kept < job.checkpoints.size(); ++i)
    drop.push_back(checkpoint_folder(job.checkpoints[i].commit, job.checkpoints[i].epoch));
  post(lead->second, net::SealCheckpoint{job.id, coming.commit, coming.epoch, text, std::move(drop)});
}

void SchedulerCore::State::on(const net::NodeKey& peer, const net::Envelope& envelope,
                              const net::CheckpointSealed& sealed) {
  const Node* node = sender(peer, envelope);
  if (node == nullptr) return;
  acknowledge(peer, envelope);
  if (!active || active->id != sealed.job || !active->checkpoint || active->checkpoint->sealer != peer ||
      active->checkpoint->commit != sealed.commit || active->checkpoint->epoch != sealed.epoch)
    return;
  if (!sealed.problem.empty()) {
    give_up_checkpoint(label(node->member) + ": " + sealed.problem);
  } else {
    JobRow& job = row(active->id);
    const auto kept = static_cast<std::ptrdiff_t>(active->spec.recovery.checkpoints_kept);
    const auto there = static_cast<std::ptrdiff_t>(job.checkpoints.size());
    if (there > kept) job.checkpoints.erase(job.checkpoints.begin(), job.checkpoints.end() - kept);
    job.checkpoints.push_back({sealed.commit, sealed.epoch, active->checkpoint->digest});
    job.unsealed.clear();
    active->checkpoint.reset();
    save(job);
    log(net::LogLevel::info, job.id,
        name_of(sealed.commit) + " is written: " + active->spec.recovery.directory + "/" +
            checkpoint_folder(sealed.commit, sealed.epoch));
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

bool SchedulerCore::State::go_further_back(const std::string& why) {
  JobRow& job = row(active->id);
  if (job.state != JobState::starting || !job.resumed) return false;
  std::vector<SealedCheckpoint>& known = job.checkpoints;
  if (known.size() < 2 || !(known.back() == *job.resumed)) return false;
  job.unsealed.push_back(checkpoint_folder(known.back().commit, known.back().epoch));
  known.pop_back();
  go_back(why);
  return true;
}

void SchedulerCore::State::wait_for_nodes(const std::string& why) {
  if (active->unplanned_told != why)
    log(net::LogLevel::warning, active->id, "waits for nodes to go on with: " + why);
  active->unplanned = active->unplanned_told = why;
  if (now_us >= active->share_after_us) active->share_after_us = now_us + share_wait_us;
  active->ask_again_us = now_us + ask_again_wait_us;
}

void SchedulerCore::State::ask_again() {
  if (!active || active->unplanned.empty() || active->planning || now_us < active->ask_again_us) return;
  active->ask_again_us = now_us + ask_again_wait_us;
  for (const auto& [key, node] : nodes) {
    const auto answer = active->answers.find(key);
    if (answer == active->answers.end() || !answer->second || answer->second->problem.empty()) continue;
    active->answers.erase(answer);
    ask_to_prepare(node);
  }
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
  if (spec.at("recovery").at("directory") != "") spec["recovery"]["directory"] = checkpoint_directory(job);
  if (!job.resumed) return spec;
  for (const char* key : {"init_from", "init_from_digest"}) spec[key] = "";
  spec["resume"] = {{"directory", checkpoint_directory(job)},
                    {"commit", job.resumed->commit},
                    {"digest", job.resumed->digest}};
  return spec;
}

void SchedulerCore::State::keep_settled() {
  JobRow& job = row(active->id);
  nlohmann::json spec = to_json(active->spec);
  spec["recovery"]["directory"] = job.spec.at("recovery").at("directory");
  if (job.resumed)
    for (const char* key : {"resume", "init_from", "init_from_digest"}) spec[key] = job.spec.at(key);
  job.spec = std::move(spec);
  save(job);
}

}  // namespace sidestep::scheduler

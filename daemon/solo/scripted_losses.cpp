#include "daemon/solo/scripted_losses.h"

#include <algorithm>
#include <string>

#include "recovery/weights.h"
#include "scheduler/plan.h"
#include "scheduler/sources.h"

namespace sidestep::daemon {

using scheduler::RecordRecovery;

Result<Boundary> ScriptedLosses::before(std::uint64_t step) {
  Boundary boundary;
  boundary.step = step;
  if (!job_.failures.any()) return boundary;
  if (Status status = follower_.keep_mirrors(step - 1); !status.ok()) return status;
  std::vector<std::uint32_t> lost;
  if (step > reached_ && step <= static_cast<std::uint64_t>(job_.steps))
    lost = job_.failures.stages_lost_at(step, static_cast<std::uint32_t>(job_.pipeline.stages));
  reached_ = std::max(reached_, step);
  std::erase_if(lost, [&](std::uint32_t stage) { return out_.contains(stage); });  // lost already
  if (!lost.empty())
    if (Status status = lose(step, lost, boundary); !status.ok())
      return status.with_context("step " + std::to_string(step));
  if (Status status = rebuild(step); !status.ok()) return status.with_context("step " + std::to_string(step));
  bring_back(step, boundary);
  std::ranges::sort(boundary.recoveries, {}, &RecordRecovery::stage);
  for (const auto& [stage, outage] : out_) boundary.out.push_back(stage);
  return boundary;
}

Status ScriptedLosses::lose(std::uint64_t step, const std::vector<std::uint32_t>& lost, Boundary& boundary) {
  const scheduler::RecoverySpec& recovery = job_.recovery;
  const std::string what =
      scheduler::stage_list(lost) + (lost.size() == 1 ? " is lost" : " are lost together");
  if (recovery.policy == "replica") return Status::refused(what + ", and recovery.policy is \"replica\"");
  if (recovery.policy == "checkpoint") {
    roll_back(step, boundary);
    return {};
  }
  for (const std::uint32_t stage : lost) {
    if (has_second_holder(stage)) {
      boundary.recoveries.push_back(
          own(stage, step - 1, recovery.policy == "mirror" ? "mirror" : "replica", true));
    } else if (stage == 0 && recovery.policy != "mirror") {
      return Status::refused(what +
                             ", and with recovery.origins 1 there is nothing to make embedding, final norm "
                             "and head of stage 0 from");
    } else {
      out_[stage] = outage(step, stage);
    }
  }
  return {};
}

ScriptedLosses::Outage ScriptedLosses::outage(std::uint64_t step, std::uint32_t stage) const {
  if (stage == 0) return {step, step, {}};  // no route does without it
  const scheduler::ListedFailure* listed = job_.failures.listed(step, stage);
  const auto steps = [&](std::int64_t scheduler::ListedFailure::*own, std::int64_t of_job) {
    return static_cast<std::uint64_t>(listed != nullptr && listed->*own >= 0 ? listed->*own : of_job);
  };
  const std::uint64_t rebuilt_at =
      step + steps(&scheduler::ListedFailure::out_steps, job_.recovery.out_steps);
  return {rebuilt_at,
          rebuilt_at + steps(&scheduler::ListedFailure::transfer_steps, job_.recovery.transfer_steps),
          {}};
}

RecordRecovery ScriptedLosses::own(std::uint32_t stage, std::uint64_t commit, const char* policy,
                                   bool moments) const {
  RecordRecovery recovery;
  recovery.stage = stage;
  recovery.node = node_;
  recovery.commit = commit;
  recovery.policy = policy;
  recovery.sources = {{stage, 1}};
  recovery.moments = moments;
  return recovery;
}

void ScriptedLosses::roll_back(std::uint64_t step, Boundary& boundary) const {
  const auto every = static_cast<std::uint64_t>(job_.recovery.checkpoint_every);
  const std::uint64_t commit = std::max(job_.first_commit(), (step - 1) / every * every);
  for (std::uint32_t stage = 0; stage < static_cast<std::uint32_t>(job_.pipeline.stages); ++stage)
    boundary.recoveries.push_back(own(stage, commit, "checkpoint", true));
  boundary.step = commit + 1;
}

Status ScriptedLosses::rebuild(std::uint64_t step) {
  std::vector<std::uint32_t> out;
  for (const auto& [stage, outage] : out_) out.push_back(stage);
  const bool moments = job_.recovery.moments == "average";
  for (auto& [stage, outage] : out_) {
    if (outage.rebuilt || outage.rebuilt_at > step) continue;
    if (job_.recovery.policy == "mirror") {
      outage.rebuilt = own(stage, follower_.mirror_commit(stage).value(), "mirror", moments);
    } else {
      Result<RecordRecovery> recovery = rebuilt(step, stage, out);
      if (!recovery.ok()) return recovery.status();
      outage.rebuilt = std::move(recovery).value();
    }
    if (Status status = follower_.keep_sources(*outage.rebuilt, step); !status.ok()) return status;
  }
  return {};
}

void ScriptedLosses::bring_back(std::uint64_t step, Boundary& boundary) {
  std::erase_if(out_, [&](const auto& entry) {
    const Outage& outage = entry.second;
    if (!outage.rebuilt || step < outage.back_at) return false;
    boundary.recoveries.push_back(*outage.rebuilt);
    return true;
  });
}

// As recovery::RebuildCore does it.
Result<RecordRecovery> ScriptedLosses::rebuilt(std::uint64_t step, std::uint32_t stage,
                                               const std::vector<std::uint32_t>& out) {
  const scheduler::RecoverySpec& spec = job_.recovery;
  const std::vector<std::uint32_t> sources = scheduler::sources_of(job_, out, stage);
  if (sources.empty())
    return Status::refused(
        scheduler::stage_list(out) + (out.size() == 1 ? " is lost" : " are lost together") +
        ", and no stage with layers is left to rebuild stage " + std::to_string(stage) + " from");
  std::vector<recovery::SourceNorm> norms;
  std::uint64_t updates = 0;
  for (const std::uint32_t source : sources) {
    const Result<StateTraits> traits = follower_.traits_of(source);
    if (!traits.ok()) return traits.status();
    norms.push_back({source, traits.value().gradient_norm});
    updates = std::max(updates, traits.value().updates);
  }
  RecordRecovery made = own(stage, step - 1, spec.policy.c_str(), spec.moments == "average");
  made.sources = recovery::weigh(spec, norms);
  made.moments = made.moments && !made.sources.empty();
  made.updates = made.moments ? updates : 0;
  made.learning_rate_scale = spec.lr_scale;
  return made;
}

}  // namespace sidestep::daemon

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
  std::erase_if(lost, [&](std::uint32_t stage) { return back_at_.contains(stage); });  // lost already
  if (!lost.empty())
    if (Status status = lose(step, lost, boundary); !status.ok())
      return status.with_context("step " + std::to_string(step));
  if (Status status = bring_back(step, boundary); !status.ok())
    return status.with_context("step " + std::to_string(step));
  std::ranges::sort(boundary.recoveries, {}, &RecordRecovery::stage);
  for (const auto& [stage, at] : back_at_) boundary.out.push_back(stage);
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
      back_at_[stage] = step + static_cast<std::uint64_t>(recovery.out_steps);
    }
  }
  // No route does without stage 0.
  if (const auto first = back_at_.find(0); first != back_at_.end()) first->second = step;
  return {};
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

Status ScriptedLosses::bring_back(std::uint64_t step, Boundary& boundary) {
  std::vector<std::uint32_t> out, due;
  for (const auto& [stage, at] : back_at_) {
    out.push_back(stage);
    if (at <= step) due.push_back(stage);
  }
  const bool moments = job_.recovery.moments == "average";
  for (const std::uint32_t stage : due) {
    if (job_.recovery.policy == "mirror") {
      boundary.recoveries.push_back(own(stage, follower_.mirror_commit(stage).value(), "mirror", moments));
    } else {
      Result<RecordRecovery> recovery = rebuilt(step, stage, out);
      if (!recovery.ok()) return recovery.status();
      boundary.recoveries.push_back(std::move(recovery).value());
    }
    back_at_.erase(stage);
  }
  return {};
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

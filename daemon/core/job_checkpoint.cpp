// Checkpoints: every stage is written by the lowest key that holds it, beside the steps that follow; the
// scheduler hears of each, and has the lead origin write the manifest when all are there.
#include "daemon/core/job_run.h"

namespace sidestep::daemon {

bool JobRun::writes_checkpoint() const {
  const scheduler::RecoverySpec& recovery = context_.spec.recovery;
  // The state after the last update is worth keeping whatever its number; a stage that is out has none.
  return recovery.writes_checkpoints() && context_.trains() && context_.plan.stages_out.empty() &&
         (context_.step % static_cast<std::uint64_t>(recovery.checkpoint_every) == 0 ||
          context_.step == static_cast<std::uint64_t>(context_.spec.steps));
}

void JobRun::write_checkpoint(const net::CommitTerms& terms) {
  if (terms.checkpoint) {
    for (const std::uint32_t stage : context_.my_stages) {
      if (context_.plan.replicas(stage).front() != context_.options->key) continue;
      const WrittenStage none{context_.step, stage, 0, {}, {}};
      ports_.queue_task(SaveCheckpoint{context_.spec.recovery.directory, context_.job, context_.step, stage},
                        [this, none](std::int64_t now, const Completion& done) {
                          WrittenStage written = none;
                          written.problem = done.fault.empty() ? done.problem : done.fault;
                          if (written.problem.empty())
                            checkpoints_open_ = true;
                          else
                            tell_written(now, written);
                        });
    }
  }
  // What is left to be written of a job's last checkpoint is waited for: no step follows.
  if (checkpoints_open_ || terms.checkpoint) poll_checkpoints(terms.last);
}

void JobRun::poll_checkpoints(bool wait) {
  ports_.queue_task(PollCheckpoints{wait}, [this](std::int64_t now, const Completion& done) {
    checkpoints_open_ = done.writing;
    for (const WrittenStage& written : done.written) tell_written(now, written);
  });
}

void JobRun::tell_written(std::int64_t now_us, const WrittenStage& written) {
  if (!written.problem.empty())
    ports_.log(now_us, net::LogLevel::error, written.stage,
               "the checkpoint of commit " + std::to_string(written.commit) + " is without stage " +
                   std::to_string(written.stage) + ": " + written.problem);
  ports_.post_scheduler(now_us, net::CheckpointWritten{context_.scope_of(written.commit), written.stage,
                                                       written.elements, written.digest, written.problem});
}

void JobRun::seal_checkpoint(const net::SealCheckpoint& order) {
  ports_.queue_task(
      SealCheckpoint{context_.spec.recovery.directory, order.job, order.commit, order.manifest, order.drop},
      [this, commit = order.commit](std::int64_t now, const Completion& done) {
        ports_.post_scheduler(now, net::CheckpointSealed{context_.job, commit, done.digest,
                                                         done.fault.empty() ? done.problem : done.fault});
      });
}

}  // namespace sidestep::daemon

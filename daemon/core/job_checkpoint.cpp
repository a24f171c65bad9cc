// Checkpoints: every stage is written by the lowest key that holds it, beside the steps that follow; the
// scheduler hears of each, and has the lead origin write the manifest when all are there.
#include "daemon/core/job_run.h"
#include "scheduler/checkpoint_manifest.h"

namespace sidestep::daemon {

bool JobRun::writes_checkpoint() const {
  const scheduler::RecoverySpec& recovery = context_.spec.recovery;
  // The state after the last update is worth keeping whatever its number; a stage that is out has none.
  return recovery.writes_checkpoints() && context_.trains() && context_.plan.stages_out.empty() &&
         (context_.step % static_cast<std::uint64_t>(recovery.checkpoint_every) == 0 ||
          context_.step == static_cast<std::uint64_t>(context_.spec.steps));
}

void JobRun::write_checkpoint(std::int64_t now_us, const net::CommitTerms& terms) {
  if (terms.checkpoint)
    for (const std::uint32_t stage : context_.my_stages)
      if (context_.plan.replicas(stage).front() == context_.options->key) begin_checkpoint(now_us, stage);
  // What is left to be written of a job's last checkpoint is waited for: no step follows.
  if (checkpoints_open_ || terms.checkpoint) poll_checkpoints(terms.last);
}

void JobRun::begin_checkpoint(std::int64_t now_us, std::uint32_t stage) {
  const WrittenStage none{context_.step, context_.plan.epoch, stage, 0, {}, {}};
  if (checkpoints_open_) {
    // A folder slower than checkpoints come: this one is left out, so that copies do not pile up.
    ports_.post_scheduler(now_us, net::CheckpointWritten{context_.scope(), stage, 0, "",
                                                         "the one before is still being written"});
    return;
  }
  const std::string folder =
      context_.spec.recovery.directory + "/" + scheduler::checkpoint_folder(none.commit, none.epoch);
  ports_.queue_task(SaveCheckpoint{folder, none.commit, none.epoch, stage},
                    [this, none](std::int64_t now, const Completion& done) {
                      WrittenStage written = none;
                      written.problem = done.fault.empty() ? done.problem : done.fault;
                      if (written.problem.empty())
                        checkpoints_open_ = true;
                      else
                        tell_written(now, written);
                    });
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
               "the checkpoint of commit " + std::to_string(written.commit) + " is without " +
                   (written.stage ? "stage " + std::to_string(*written.stage) : "its manifest") + ": " +
                   written.problem);
  if (!written.stage)
    return ports_.post_scheduler(
        now_us, net::CheckpointSealed{context_.job, written.commit, written.epoch, written.problem});
  net::Scope scope = context_.scope_of(written.commit);
  scope.epoch = written.epoch;
  ports_.post_scheduler(now_us, net::CheckpointWritten{scope, *written.stage, written.elements,
                                                       written.digest, written.problem});
}

void JobRun::seal_checkpoint(const net::SealCheckpoint& order) {
  ports_.queue_task(SealCheckpoint{context_.spec.recovery.directory,
                                   scheduler::checkpoint_folder(order.commit, order.epoch), order.commit,
                                   order.epoch, order.manifest, order.drop},
                    [this](std::int64_t, const Completion&) {
                      checkpoints_open_ = true;
                      // No Commit follows that would ask after it.
                      if (phase_ == Phase::finished) poll_checkpoints(true);
                    });
}

}  // namespace sidestep::daemon

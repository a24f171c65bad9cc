// The end of a step: Commit, the update, snapshots.
#include <algorithm>

#include "daemon/core/job_run.h"

namespace sidestep::daemon {

void JobRun::commit_if_ready(std::int64_t now_us) {
  if (!context_.leads() || !ledger_.ready()) return;
  const Ledger::Page page = ledger_.commit(now_us);
  const std::string end = end_of_job(page);
  const bool last = !end.empty() || context_.step == static_cast<std::uint64_t>(context_.spec.final_step());
  const bool snapshot = last || std::exchange(snapshot_asked_, false);
  const bool adopts = !last && offered_.contains(adopt_epoch_);
  const std::uint64_t next_epoch = adopts ? adopt_epoch_ : context_.plan.epoch;
  if (page.skip_update)
    ports_.log(now_us, net::LogLevel::warning, std::nullopt,
               "step " + std::to_string(context_.step) + ": no update, " + page.skip_reason);
  progress_line_.on_commit(now_us, page.record, last);
  withheld_ =
      net::Commit{context_.scope(),
                  next_epoch,
                  {page.skip_update, last, snapshot, snapshot ? snapshot_kept_ : 0, writes_checkpoint()},
                  {{"record", scheduler::to_json(page.record)}, {"end", end}, {"next_epoch", next_epoch}}};
  // Whoever leads after this node has to know what was committed before anybody acts on it.
  const std::vector<net::NodeKey> origins = context_.plan.replicas(0);
  for (const net::NodeKey& origin : origins)
    if (origin != context_.options->key) context_.post(now_us, origin, *withheld_);
  if (origins.size() == 1) send_commit(now_us);
}

void JobRun::on_kept(std::int64_t now_us, const net::NodeKey& peer) {
  if (!withheld_ || !context_.plan.holds(peer, 0)) return;  // a repeat
  kept_by_.insert(peer);
  if (kept_by_.size() + 1 == context_.plan.replicas(0).size()) send_commit(now_us);
}

void JobRun::send_commit(std::int64_t now_us) {
  kept_by_.clear();
  const net::Commit whole = *std::exchange(withheld_, std::nullopt);
  handover_.keep(whole);
  ports_.post_scheduler(now_us,
                        net::CommitReport{context_.scope(), whole.record.at("record"), whole.record.at("end"),
                                          whole.next_epoch, whole.terms.checkpoint});
  net::Commit commit = whole;
  commit.record = nullptr;
  const std::vector<net::NodeKey> origins = context_.plan.replicas(0);
  for (const auto& [node, stages] : context_.plan.stages_of)
    if (node == context_.options->key || !std::binary_search(origins.begin(), origins.end(), node))
      context_.post(now_us, node, commit);
  // One may be a node of the plan too, which has it already.
  for (const auto& [node, stages] : context_.plan.learners)
    if (!takes_part(node)) context_.post(now_us, node, stages.front() == 0 ? whole : commit);
}

void JobRun::adopt_at_next_commit(std::uint64_t epoch) {
  adopt_epoch_ = std::max(adopt_epoch_, epoch);  // messages may overtake each other
}

void JobRun::ask_for_snapshot(std::uint64_t keep) {
  snapshot_asked_ = true;
  snapshot_kept_ = std::max(snapshot_kept_, keep);  // messages may overtake each other
}

std::string JobRun::end_of_job(const Ledger::Page& page) {
  if (!context_.trains()) return {};
  const std::uint64_t skipped = page.skip_update ? skipped_in_a_row_ + 1 : 0;
  const auto most = static_cast<std::uint64_t>(context_.spec.optimizer.non_finite_max);
  if (most == 0 || skipped < most) return {};
  const std::uint64_t good = context_.step - skipped;
  return "steps " + std::to_string(good + 1) + " to " + std::to_string(context_.step) +
         " made no update (optimizer.non_finite_max is " + std::to_string(most) + "); in the last one " +
         page.skip_reason + "; `sidestep export " + context_.job + " --out DIR` gives the state of commit " +
         std::to_string(context_.step) + ", which is that of step " + std::to_string(good);
}

void JobRun::on_commit(std::int64_t now_us, const net::NodeKey& peer, const net::Commit& commit) {
  if (peer == context_.lead && (phase_ == Phase::updating || phase_ == Phase::saving))
    return;  // a repeat: its update is under way
  if (peer != context_.lead || (phase_ != Phase::running && phase_ != Phase::learning)) {
    ports_.log(now_us, net::LogLevel::warning, std::nullopt,
               "dropped Commit of step " + std::to_string(commit.scope.step) + " from " +
                   context_.name_of(peer) + ": " +
                   (peer != context_.lead ? "it is not the lead origin" : "no weights yet"));
    return;
  }
  if (phase_ == Phase::running) times_.on_commit(now_us);
  apply(now_us, commit);
  if (!commit.record.is_null() && context_.plan.holds(context_.options->key, 0))
    context_.post(now_us, peer, net::CommitKept{commit.scope});
}

void JobRun::apply(std::int64_t now_us, const net::Commit& commit) {
  const std::uint64_t step = context_.step;
  handover_.keep(commit);
  // Learners are given what the step was about even after it.
  ports_.drop_posted([this, step](const net::NodeKey& to, const net::Message& message) {
    const net::Scope* scope = scope_of(message);
    return scope && scope->step <= step && !std::holds_alternative<net::Commit>(message) &&
           !std::holds_alternative<net::Resume>(message) &&
           !std::holds_alternative<net::StateOffer>(message) &&
           !std::holds_alternative<net::MirrorKept>(message) && !context_.plan.learners.contains(to);
  });
  context_.recoveries.clear();
  if (context_.trains()) skipped_in_a_row_ = commit.terms.skip_update ? skipped_in_a_row_ + 1 : 0;
  for (auto& [stage, learner] : learners_) learner->on_commit(now_us, commit.terms.skip_update);
  if (phase_ == Phase::failed) return;
  const auto updated = [this, commit](std::int64_t now) {
    write_checkpoint(now, commit.terms);
    share_mirrors(now, commit.terms);
    if (commit.terms.snapshot)
      save_snapshots(now, 0, commit);
    else
      finish_step(now, commit);
  };
  if (context_.my_stages.empty()) return finish_step(now_us, commit);
  if (!context_.trains()) return updated(now_us);
  phase_ = Phase::updating;
  Update update{step, {}};
  for (const auto& [stage, averager] : averagers_)
    if (!commit.terms.skip_update && !averager.unvisited()) update.updated.push_back(stage);
  ports_.queue_task(std::move(update), [this, updated](std::int64_t now, const Completion& done) {
    if (!done.fault.empty()) return fail(now, "update: " + done.fault);
    resident_bytes_ = done.resident_bytes;
    updated(now);
  });
}

void JobRun::save_snapshots(std::int64_t now_us, std::size_t next, const net::Commit& commit) {
  if (next == context_.my_stages.size()) return finish_step(now_us, commit);
  phase_ = Phase::saving;
  const std::uint32_t stage = context_.my_stages[next];
  ports_.queue_task(SaveSnapshot{context_.job, context_.step, stage, commit.terms.keep},
                    [this, next, commit, stage](std::int64_t now, const Completion& done) {
                      const std::string& problem = done.fault.empty() ? done.problem : done.fault;
                      if (!problem.empty())
                        ports_.log(now, net::LogLevel::error, stage,
                                   "step " + std::to_string(context_.step) + ": stage " +
                                       std::to_string(stage) + " was not saved: " + problem);
                      ports_.post_scheduler(now, net::SnapshotTaken{context_.scope(), stage, done.elements,
                                                                    done.digest, problem});
                      save_snapshots(now, next + 1, commit);
                    });
}

void JobRun::finish_step(std::int64_t now_us, const net::Commit& commit) {
  applied_ = context_.step;
  if (commit.terms.last) {
    phase_ = Phase::finished;
    if (checkpoints_open_) poll_checkpoints(true);
    return;
  }
  // A plan that takes effect at once goes before the one that was named.
  if (commit.next_epoch > context_.plan.epoch && !change_) return take_offered(now_us, commit.next_epoch);
  ++context_.step;
  if (context_.my_stages.empty()) return take_held(now_us);
  begin_step(now_us);
}

}  // namespace sidestep::daemon

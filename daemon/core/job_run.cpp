#include "daemon/core/job_run.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "net/clock.h"

namespace sidestep::daemon {
namespace {

constexpr std::int64_t progress_every_us = 2 * net::second;

// The scope that a data message names; none for messages that are not about a step.
const net::Scope* scope_of(const net::Message& message) {
  return std::visit(
      [](const auto& m) -> const net::Scope* {
        if constexpr (requires { m.scope; })
          return &m.scope;
        else
          return nullptr;
      },
      message);
}

std::string number(double value, const char* format) {
  char text[48];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

}  // namespace

std::string JobContext::name_of(const net::NodeKey& node) const {
  for (const net::Member& member : view.members)
    if (member.key == node) return member.nickname + " (" + node.short_name() + ")";
  return node.short_name();
}

JobRun::JobRun(std::int64_t now_us, const NodeOptions& options, std::string job, scheduler::JobSpec spec,
               scheduler::Plan plan, net::View view, std::optional<std::uint64_t> stored, Ports ports)
    : ports_(std::move(ports)),
      pipeline_(context_),
      ledger_(context_),
      times_(context_, ports_.times),
      handover_(context_, [this](std::int64_t now, const nlohmann::json& record, const std::string& end) {
        ports_.post_scheduler(now,
                              net::CommitReport{context_.scope_of(record.value("step", 0u)), record, end});
      }) {
  context_.options = &options;
  context_.job = std::move(job);
  context_.spec = std::move(spec);
  context_.plan = std::move(plan);
  context_.view = std::move(view);
  context_.my_stages = context_.plan.stages_of.at(options.key);
  context_.lead = context_.plan.lead_origin();
  context_.post = [this](std::int64_t now, const net::NodeKey& to, net::Message message) {
    if (to == context_.options->key)
      local_.push_back(std::move(message));
    else
      ports_.post_data(now, to, std::move(message));
  };
  context_.queue_task = ports_.queue_task;
  context_.log = ports_.log;
  context_.fail = [this](std::int64_t now, const std::string& reason) { fail(now, reason); };
  if (context_.leads()) ledger_.begin_step(now_us);
  // Others may have worked under an earlier plan of the job.
  if (context_.plan.epoch > 1) change_ = Change{context_.plan, context_.view, stored};
  const bool origin = context_.plan.holds(options.key, 0);
  ports_.queue_task(InitJob{context_.spec, context_.my_stages, origin},
                    [this](std::int64_t now, const Completion& done) { on_initialised(now, done); });
}

void JobRun::on_initialised(std::int64_t now_us, const Completion& completion) {
  if (!completion.fault.empty()) return fail(now_us, "making the weights: " + completion.fault);
  SIDESTEP_ASSERT(completion.gradient_elements.size() == context_.my_stages.size());
  phase_ = Phase::running;
  for (std::size_t i = 0; i < context_.my_stages.size(); ++i) {
    const std::uint32_t stage = context_.my_stages[i];
    elements_[stage] = completion.gradient_elements[i];
    averagers_.try_emplace(stage, context_, stage, completion.gradient_elements[i]);
    const std::size_t replicas = context_.plan.replicas(stage).size();
    ports_.log(now_us, net::LogLevel::info, stage,
               "holds stage " + std::to_string(stage) + " of " +
                   std::to_string(context_.spec.pipeline.stages) + ", " +
                   std::to_string(completion.gradient_elements[i]) + " parameters" +
                   (replicas > 1 ? ", one of " + std::to_string(replicas) + " replicas" : "") +
                   (stage == 0 ? ", origin" : "") + (stage == 0 && context_.leads() ? ", lead" : ""));
  }
  if (!change_) report_ready(now_us);
}

// The weights are there: step 0.
void JobRun::report_ready(std::int64_t now_us) {
  for (const std::uint32_t stage : context_.my_stages) {
    net::StageReport report;
    report.scope = context_.scope();
    report.stage = stage;
    report.attempt = 1;
    report.threads = context_.options->resources.threads;
    context_.post(now_us, context_.lead, std::move(report));
  }
}

void JobRun::change_plan(std::int64_t now_us, scheduler::Plan plan, net::View view,
                         std::optional<std::uint64_t> stored) {
  SIDESTEP_ASSERT(plan.epoch > epoch());
  change_ = Change{std::move(plan), std::move(view), stored};
  take_change(now_us);
}

void JobRun::take_change(std::int64_t now_us) {
  const bool may = phase_ == Phase::running || phase_ == Phase::waiting || phase_ == Phase::finished;
  if (!change_ || !may) return;
  Change change = *std::exchange(change_, std::nullopt);
  const auto mine = change.plan.stages_of.find(context_.options->key);
  if (mine == change.plan.stages_of.end() || mine->second != context_.my_stages)
    return fail(now_us,
                "plan " + std::to_string(change.plan.epoch) + " gives this node other stages than it has");
  const std::uint64_t next = phase_ == Phase::finished ? context_.step + 1 : context_.step;
  context_.plan = std::move(change.plan);
  context_.view = std::move(change.view);
  context_.lead = context_.plan.lead_origin();
  ports_.drop_posted([](const net::Message&) { return true; });
  ports_.abandon_tasks();
  local_.clear();
  withheld_.reset();
  kept_by_.clear();
  pipeline_.abandon();
  context_.timer.abandon();
  changed_ = true;
  phase_ = Phase::waiting;
  handover_.begin(now_us, next, change.stored);
  take_held(now_us);
}

void JobRun::on_resume(std::int64_t now_us, const net::NodeKey& peer, const net::Resume& resume) {
  if (phase_ != Phase::waiting) return;  // a repeat
  if (peer != context_.lead)
    return ports_.log(now_us, net::LogLevel::warning, std::nullopt,
                      "dropped Resume from " + context_.name_of(peer) + ": it is not the lead origin");
  // What this node said in its Standing.
  const std::uint64_t mine =
      applied_ == context_.step && context_.step > 0 ? context_.step + 1 : context_.step;
  if (mine == 0 && resume.scope.step > 1)
    return fail(now_us, "plan " + std::to_string(context_.plan.epoch) + " goes on at step " +
                            std::to_string(resume.scope.step) + ", and this node has only the first weights");
  if (resume.scope.step > mine) {
    context_.step = resume.scope.step - 1;
    net::Commit missed{context_.scope(), 0, 0, resume.skip_update, resume.last, resume.snapshot, resume.keep};
    return apply(now_us, missed);
  }
  if (resume.last && resume.scope.step == mine && applied_ == context_.step && context_.step > 0) {
    phase_ = Phase::finished;
    return;
  }
  begin_step(now_us);
}

bool JobRun::hold(const net::NodeKey& peer, const net::Message& message) {
  constexpr std::size_t held_max = 4096;
  if (early_.size() >= held_max) return false;
  early_.emplace_back(peer, message);
  return true;
}

void JobRun::take_held(std::int64_t now_us) {
  for (const auto& [peer, message] : std::exchange(early_, {})) on_data(now_us, peer, message);
}

bool JobRun::on_data(std::int64_t now_us, const net::NodeKey& peer, const net::Message& message) {
  const net::Scope* scope = scope_of(message);
  // Its sender has heard of a plan that this node has not, or not taken yet.
  constexpr std::uint64_t plans_ahead_max = 16;
  if (scope && scope->epoch > epoch() + plans_ahead_max) return true;  // garbage
  if (scope && scope->epoch > context_.plan.epoch) return hold(peer, message);
  if (!scope || !takes_part(peer)) {
    ports_.log(now_us, net::LogLevel::warning, std::nullopt,
               "dropped " + std::string(net::name_of(message)) + " from " + context_.name_of(peer) +
                   ": not of this job's nodes or not about a step");
    return true;
  }
  if (scope->epoch < context_.plan.epoch || phase_ == Phase::failed) return true;  // out of date
  if (change_) return hold(peer, message);                                         // judged when it is taken
  if (const auto* standing = std::get_if<net::Standing>(&message)) {
    handover_.on_standing(now_us, peer, *standing);
    return true;
  }
  if (const auto* resume = std::get_if<net::Resume>(&message)) {
    on_resume(now_us, peer, *resume);
    return true;
  }
  if (phase_ == Phase::waiting) return hold(peer, message);
  if (scope->step < context_.step || phase_ == Phase::finished) return true;  // out of date
  if (scope->step > context_.step + 1) return false;                          // no node is further ahead
  if (scope->step > context_.step) return hold(peer, message);
  dispatch(now_us, peer, message);
  return true;
}

void JobRun::dispatch(std::int64_t now_us, const net::NodeKey& peer, const net::Message& message) {
  if (const auto* hop = std::get_if<net::MicrobatchHop>(&message)) {
    pipeline_.on_hop(now_us, peer, *hop);
  } else if (const auto* chunk = std::get_if<net::AverageChunk>(&message)) {
    const auto averager = averagers_.find(chunk->stage);
    if (averager != averagers_.end()) averager->second.on_chunk(now_us, peer, *chunk);
  } else if (const auto* commit = std::get_if<net::Commit>(&message)) {
    on_commit(now_us, peer, *commit);
  } else if (context_.leads()) {
    if (std::holds_alternative<net::CommitKept>(message))
      on_kept(now_us, peer);
    else if (const auto* closed = std::get_if<net::MicrobatchClosed>(&message))
      ledger_.on_closed(now_us, peer, *closed);
    else if (const auto* report = std::get_if<net::StageReport>(&message))
      ledger_.on_report(now_us, peer, *report);
  }
}

void JobRun::pump(std::int64_t now_us) {
  take_change(now_us);
  while (!local_.empty()) {
    const net::Message message = std::move(local_.front());
    local_.pop_front();
    on_data(now_us, context_.options->key, message);
  }
  if (phase_ != Phase::running && phase_ != Phase::initialising) return;
  if (phase_ == Phase::running) begin_averages(now_us);
  commit_if_ready(now_us);
  if (!local_.empty()) return pump(now_us);
  if (phase_ != Phase::running || !ports_.desk_free()) return;
  if (auto pick = pipeline_.pick(now_us)) ports_.queue_task(std::move(pick->task), std::move(pick->done));
}

void JobRun::begin_averages(std::int64_t now_us) {
  if (context_.step == 0) return;
  for (auto& [stage, averager] : averagers_)
    if (!averager.begun() && pipeline_.complete(stage))
      averager.on_gradient_complete(now_us, pipeline_.added(stage));
}

void JobRun::commit_if_ready(std::int64_t now_us) {
  if (!context_.leads() || !ledger_.ready()) return;
  const Ledger::Page page = ledger_.commit(now_us);
  const std::string end = end_of_job(page);
  const bool last = !end.empty() || context_.step == static_cast<std::uint64_t>(context_.spec.final_step());
  const bool snapshot = last || std::exchange(snapshot_asked_, false);
  if (page.skip_update)
    ports_.log(now_us, net::LogLevel::warning, std::nullopt,
               "step " + std::to_string(context_.step) + ": no update, " + page.skip_reason);
  log_progress(now_us, page.record, last);
  withheld_ = net::Commit{context_.scope(),
                          context_.plan.epoch,
                          context_.view.number,
                          page.skip_update,
                          last,
                          snapshot,
                          snapshot ? snapshot_kept_ : 0,
                          {{"record", scheduler::to_json(page.record)}, {"end", end}}};
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
  net::Commit commit = *std::exchange(withheld_, std::nullopt);
  handover_.keep(commit);  // with the record
  const nlohmann::json kept = std::exchange(commit.record, nullptr);
  ports_.post_scheduler(now_us, net::CommitReport{context_.scope(), kept.at("record"), kept.at("end")});
  const std::vector<net::NodeKey> origins = context_.plan.replicas(0);
  for (const auto& [node, stages] : context_.plan.stages_of)
    if (node == context_.options->key || !std::binary_search(origins.begin(), origins.end(), node))
      context_.post(now_us, node, commit);
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
  if (peer != context_.lead || phase_ != Phase::running) {
    ports_.log(now_us, net::LogLevel::warning, std::nullopt,
               "dropped Commit of step " + std::to_string(commit.scope.step) + " from " +
                   context_.name_of(peer) + ": " +
                   (peer != context_.lead ? "it is not the lead origin" : "no weights yet"));
    return;
  }
  times_.on_commit(now_us);
  apply(now_us, commit);
  if (!commit.record.is_null()) context_.post(now_us, peer, net::CommitKept{commit.scope});
}

void JobRun::apply(std::int64_t now_us, const net::Commit& commit) {
  const std::uint64_t step = context_.step;
  handover_.keep(commit);
  ports_.drop_posted([step](const net::Message& message) {
    const net::Scope* scope = scope_of(message);
    return scope && scope->step <= step && !std::holds_alternative<net::Commit>(message) &&
           !std::holds_alternative<net::Resume>(message);
  });
  const auto updated = [this, commit](std::int64_t now) {
    if (commit.snapshot)
      save_snapshots(now, 0, commit);
    else
      finish_step(now, commit.last);
  };
  if (!context_.trains()) return updated(now_us);
  skipped_in_a_row_ = commit.skip_update ? skipped_in_a_row_ + 1 : 0;
  phase_ = Phase::updating;
  Update update{step, {}};
  for (const auto& [stage, averager] : averagers_)
    if (!commit.skip_update && !averager.unvisited()) update.updated.push_back(stage);
  ports_.queue_task(std::move(update), [this, updated](std::int64_t now, const Completion& done) {
    if (!done.fault.empty()) return fail(now, "update: " + done.fault);
    resident_bytes_ = done.resident_bytes;
    updated(now);
  });
}

void JobRun::save_snapshots(std::int64_t now_us, std::size_t next, const net::Commit& commit) {
  if (next == context_.my_stages.size()) return finish_step(now_us, commit.last);
  phase_ = Phase::saving;
  const std::uint32_t stage = context_.my_stages[next];
  ports_.queue_task(SaveSnapshot{context_.job, context_.step, stage, commit.keep},
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

void JobRun::finish_step(std::int64_t now_us, bool last) {
  applied_ = context_.step;
  if (last) {
    phase_ = Phase::finished;
    return;
  }
  ++context_.step;
  begin_step(now_us);
}

void JobRun::begin_step(std::int64_t now_us) {
  phase_ = Phase::running;
  if (std::exchange(changed_, false)) {
    averagers_.clear();
    for (const auto& [stage, elements] : elements_) averagers_.try_emplace(stage, context_, stage, elements);
    if (context_.step > 0)
      ports_.queue_task(AbandonStep{context_.step}, [](std::int64_t, const Completion&) {});
  }
  if (context_.leads()) ledger_.begin_step(now_us);
  context_.timer.begin(now_us);
  if (context_.step == 0) {
    report_ready(now_us);
  } else {
    pipeline_.begin_step(now_us);
    for (auto& [stage, averager] : averagers_) averager.begin_step();
  }
  take_held(now_us);
}

// ", 1.9123 without 0.33 of the stages".
std::string JobRun::skip_losses(const scheduler::RecordStep& record) const {
  std::string text;
  for (std::size_t i = 0; i < record.validation_skip_losses.size(); ++i)
    text += ", " + number(record.validation_skip_losses[i], "%.4f") + " without " +
            number(context_.spec.validation.skip[i], "%.2g") + " of the stages";
  return text;
}

void JobRun::log_progress(std::int64_t now_us, const scheduler::RecordStep& record, bool last) {
  if (record.validation_loss)
    ports_.log(now_us, net::LogLevel::info, std::nullopt,
               "validation loss " + number(*record.validation_loss, "%.4f") + " after step " +
                   std::to_string(record.step - 1) + skip_losses(record));
  if (record.step == 0) {
    progress_logged_us_ = now_us;
    ports_.log(now_us, net::LogLevel::info, std::nullopt,
               "all " + std::to_string(context_.spec.pipeline.stages) + " stages ready on " +
                   std::to_string(context_.plan.stages_of.size()) + " nodes, training begins");
    return;
  }
  if (!record.loss) return;
  tokens_since_ += record.tokens;
  time_since_us_ += record.duration_us;
  const auto steps = static_cast<std::uint64_t>(context_.spec.steps);
  if (!last && record.step != 1 && record.step != steps && now_us - progress_logged_us_ < progress_every_us)
    return;
  progress_logged_us_ = now_us;
  const double seconds = static_cast<double>(std::max<std::int64_t>(1, time_since_us_)) / 1e6;
  const double tokens_per_s = static_cast<double>(tokens_since_) / seconds;
  const double left_s = static_cast<double>(steps - record.step) *
                        static_cast<double>(context_.spec.tokens_per_step()) / std::max(1.0, tokens_per_s);
  ports_.log(now_us, net::LogLevel::info, std::nullopt,
             "step " + std::to_string(record.step) + " of " + std::to_string(steps) + ": loss " +
                 number(*record.loss, "%.4f") + ", " + number(tokens_per_s, "%.0f") + " tokens/s, " +
                 number(left_s, "%.0f") + " s left");
  tokens_since_ = 0;
  time_since_us_ = 0;
}

void JobRun::fail(std::int64_t now_us, const std::string& reason) {
  if (phase_ == Phase::failed) return;
  phase_ = Phase::failed;
  ports_.log(now_us, net::LogLevel::error, std::nullopt,
             "step " + std::to_string(context_.step) + ": " + reason);
  ports_.post_scheduler(now_us, net::JobFault{context_.scope(), reason});
}

net::JobProgress JobRun::progress() const {
  net::JobProgress progress{context_.job, context_.plan.epoch, applied_, {}, resident_bytes_};
  std::string what;
  switch (phase_) {
    case Phase::initialising:
      what = "makes weights";
      break;
    case Phase::updating:
      what = "updates weights";
      break;
    case Phase::saving:
      what = "saves a snapshot";
      break;
    case Phase::waiting:
      what = handover_.describe();
      if (what.empty()) what = "waits for where plan " + std::to_string(context_.plan.epoch) + " begins";
      break;
    case Phase::finished:
      what = "finished";
      break;
    case Phase::failed:
      what = "failed";
      break;
    case Phase::running: {
      what = pipeline_.describe();
      for (const auto& [stage, averager] : averagers_)
        if (const std::string text = averager.describe(); !text.empty())
          what += (what.empty() ? "" : "; ") + text;
      if (context_.leads())
        if (const std::string text = ledger_.describe(); !text.empty())
          what += (what.empty() ? "" : "; ") + text;
      if (what.empty()) what = "waits for Commit";
    }
  }
  progress.activity = "step " + std::to_string(context_.step) + ": " + what;
  return progress;
}

void JobRun::check_invariants() const {
  pipeline_.check_invariants();
  SIDESTEP_ASSERT(applied_ == context_.step || applied_ + 1 == context_.step);
  for (const auto& [peer, message] : early_) {
    const net::Scope* scope = scope_of(message);
    SIDESTEP_ASSERT(scope && (scope->step >= context_.step || scope->epoch > context_.plan.epoch ||
                              phase_ == Phase::waiting || change_));
  }
}

}  // namespace sidestep::daemon

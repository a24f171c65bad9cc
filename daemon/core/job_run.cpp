#include "daemon/core/job_run.h"

#include <algorithm>

namespace sidestep::daemon {
namespace {

// Messages kept for later.
constexpr std::size_t held_max = 4096;
// How much further than this node others may be, of what they say to one that learns.
constexpr std::uint64_t steps_ahead_max = 16;
constexpr std::uint64_t plans_ahead_max = 16;

}  // namespace

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

std::optional<std::uint32_t> stage_of_lesson(const net::Message& message) {
  if (const auto* chunk = std::get_if<net::AverageChunk>(&message)) return chunk->stage;
  if (const auto* offer = std::get_if<net::StateOffer>(&message)) return offer->lesson;
  return std::nullopt;
}

std::string JobContext::name_of(const net::NodeKey& node) const {
  for (const net::Member& member : view.members)
    if (member.key == node) return member.nickname + " (" + node.short_name() + ")";
  return node.short_name();
}

JobRun::JobRun(std::int64_t now_us, const NodeOptions& options, std::string job, scheduler::JobSpec spec,
               PlanOrder order, Ports ports)
    : ports_(std::move(ports)),
      pipeline_(context_),
      mirrors_(context_, {ports_.send_data,
                          [this](std::int64_t now, const net::NodeKey& source, const net::MirrorKept& kept) {
                            context_.post(now, source, kept);
                            if (kept.problem.empty()) ports_.post_scheduler(now, kept);
                          }}),
      ledger_(context_),
      times_(context_, ports_.times),
      handover_(context_,
                [this](std::int64_t now, const nlohmann::json& kept) {
                  const nlohmann::json& record = kept.at("record");
                  ports_.post_scheduler(now, net::CommitReport{context_.scope_of(record.value("step", 0u)),
                                                               record, kept.at("end").get<std::string>(),
                                                               kept.value("next_epoch", 0u)});
                }),
      progress_line_(context_) {
  context_.options = &options;
  context_.job = std::move(job);
  context_.spec = std::move(spec);
  context_.plan = order.plan;
  context_.view = order.view;
  context_.my_stages = context_.plan.stages(options.key);
  // Whoever only learns hears from the others where they are.
  if (!context_.my_stages.empty()) applied_ = context_.step = context_.spec.first_commit();
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
  if (context_.plan.epoch > 1 && !order.at_commit) change_ = std::move(order);
  std::vector<std::uint32_t> stages = context_.my_stages;
  const std::vector<std::uint32_t>& lessons = context_.plan.lessons(options.key);
  stages.insert(stages.end(), lessons.begin(), lessons.end());
  const bool origin = std::find(stages.begin(), stages.end(), 0u) != stages.end();
  ports_.queue_task(InitJob{context_.spec, context_.my_stages, origin, lessons},
                    [this, stages](std::int64_t now, const Completion& done) {
                      SIDESTEP_ASSERT(!done.fault.empty() || done.gradient_elements.size() == stages.size());
                      for (std::size_t i = 0; i < done.gradient_elements.size(); ++i)
                        elements_[stages[i]] = done.gradient_elements[i];
                      on_initialised(now, done);
                    });
}

void JobRun::on_initialised(std::int64_t now_us, const Completion& completion) {
  if (!completion.fault.empty()) return fail(now_us, "making the weights: " + completion.fault);
  phase_ = context_.my_stages.empty() ? Phase::learning : Phase::running;
  make_averagers();
  for (const std::uint32_t stage : context_.my_stages) log_stage(now_us, stage);
  if (phase_ == Phase::running && !change_) return report_ready(now_us);
  for (const auto& [stage, elements] : elements_)
    if (context_.plan.learns(context_.options->key, stage))
      learn(stage, elements, {context_.plan.epoch, std::nullopt});
  take_held(now_us);
}

void JobRun::make_averagers() {
  averagers_.clear();
  for (const std::uint32_t stage : context_.my_stages)
    averagers_.try_emplace(stage, context_, stage, elements_.at(stage));
}

void JobRun::log_stage(std::int64_t now_us, std::uint32_t stage) const {
  const std::size_t replicas = context_.plan.replicas(stage).size();
  ports_.log(now_us, net::LogLevel::info, stage,
             "holds stage " + std::to_string(stage) + " of " + std::to_string(context_.spec.pipeline.stages) +
                 ", " + std::to_string(elements_.at(stage)) + " parameters" +
                 (replicas > 1 ? ", one of " + std::to_string(replicas) + " replicas" : "") +
                 (stage == 0 ? ", origin" : "") + (stage == 0 && context_.leads() ? ", lead" : ""));
}

// The weights are there.
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

void JobRun::begin_step(std::int64_t now_us) {
  phase_ = Phase::running;
  if (std::exchange(changed_, false)) {
    make_averagers();
    if (!context_.begins())
      ports_.queue_task(AbandonStep{context_.step}, [](std::int64_t, const Completion&) {});
  }
  if (context_.leads()) ledger_.begin_step(now_us);
  context_.timer.begin(now_us);
  if (context_.begins()) {
    report_ready(now_us);
  } else {
    pipeline_.begin_step(now_us);
    for (auto& [stage, averager] : averagers_) averager.begin_step();
  }
  take_held(now_us);
}

bool JobRun::hold(const net::NodeKey& peer, const net::Message& message) {
  if (early_.size() >= held_max) return false;
  early_.emplace_back(peer, message);
  return true;
}

void JobRun::take_held(std::int64_t now_us) {
  for (const auto& [peer, message] : std::exchange(early_, {})) on_data(now_us, peer, message);
}

bool JobRun::on_data(std::int64_t now_us, const net::NodeKey& peer, const net::Message& message) {
  if (const auto* kept = std::get_if<net::MirrorKept>(&message)) {
    on_mirror_kept(peer, *kept);
    return true;
  }
  const net::Scope* scope = scope_of(message);
  // Its sender has heard of a plan that this node has not, or not taken yet.
  if (scope && scope->epoch > context_.plan.epoch + plans_ahead_max) return true;  // garbage
  if (scope && scope->epoch > context_.plan.epoch) return hold(peer, message);
  if (phase_ == Phase::initialising && context_.my_stages.empty()) return hold(peer, message);
  if (scope && phase_ != Phase::failed && take_mirror_offer(now_us, peer, message)) return true;
  if (scope && phase_ != Phase::failed)
    if (const std::optional<bool> taken = take_lesson(now_us, peer, message)) return *taken;
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
    if (!adding_.empty()) return hold(peer, message);  // lessons that begin are to hear of it
    on_resume(now_us, peer, *resume);
    return true;
  }
  if (phase_ == Phase::waiting) return hold(peer, message);
  if (scope->step < context_.step || phase_ == Phase::finished) return true;  // out of date
  const std::uint64_t ahead_max = phase_ == Phase::learning ? steps_ahead_max : 1;
  if (scope->step > context_.step + ahead_max) return false;  // no node is further ahead
  if (scope->step > context_.step) return hold(peer, message);
  dispatch(now_us, peer, message);
  return true;
}

std::optional<bool> JobRun::take_lesson(std::int64_t now_us, const net::NodeKey& peer,
                                        const net::Message& message) {
  // Learners are to hear of every Commit from their base on.
  const bool base_open =
      phase_ == Phase::learning && !learners_.empty() && !learners_.begin()->second->base();
  if (std::holds_alternative<net::Commit>(message) && (base_open || !adding_.empty()))
    return hold(peer, message);
  const std::optional<std::uint32_t> stage = stage_of_lesson(message);
  if (!stage) return std::nullopt;
  const auto* offer = std::get_if<net::StateOffer>(&message);
  const auto found = learners_.find(*stage);
  if (given_up_.contains(*stage)) return true;
  if (found == learners_.end()) {
    if (context_.plan.learns(context_.options->key, *stage) && phase_ != Phase::finished)
      return hold(peer, message);
    return offer != nullptr ? std::optional(true) : std::nullopt;
  }
  Lesson& learner = *found->second;
  if (offer != nullptr) {
    const bool begins = context_.my_stages.empty() && !learner.base();
    learner.on_offer(now_us, peer, *offer);
    if (begins && learner.base()) {
      applied_ = *learner.base();
      context_.step = applied_ + 1;
      take_held(now_us);
    }
    return true;
  }
  const auto& chunk = std::get<net::AverageChunk>(message);
  if (!learner.base()) return hold(peer, message);
  if (phase_ == Phase::waiting && chunk.scope.epoch == context_.plan.epoch) return hold(peer, message);
  if (chunk.scope.step > context_.step + steps_ahead_max) return false;
  if (chunk.scope.step > context_.step) return hold(peer, message);
  learner.on_chunk(now_us, peer, chunk);
  return true;
}

void JobRun::dispatch(std::int64_t now_us, const net::NodeKey& peer, const net::Message& message) {
  if (const auto* commit = std::get_if<net::Commit>(&message)) return on_commit(now_us, peer, *commit);
  if (phase_ == Phase::learning) return;
  if (const auto* hop = std::get_if<net::MicrobatchHop>(&message)) {
    pipeline_.on_hop(now_us, peer, *hop);
  } else if (const auto* chunk = std::get_if<net::AverageChunk>(&message)) {
    const auto averager = averagers_.find(chunk->stage);
    if (averager != averagers_.end()) averager->second.on_chunk(now_us, peer, *chunk);
  } else if (context_.leads()) {
    if (std::holds_alternative<net::CommitKept>(message))
      on_kept(now_us, peer);
    else if (const auto* closed = std::get_if<net::MicrobatchClosed>(&message))
      ledger_.on_closed(now_us, peer, *closed);
    else if (const auto* report = std::get_if<net::StageReport>(&message))
      ledger_.on_report(now_us, peer, *report);
  }
}

// A word about an earlier run of the job, which went back to a checkpoint since, may name steps that are to
// come.
void JobRun::on_stored(std::uint64_t step) {
  if (step <= applied_ + 1) handover_.forget_stored(step);
}

void JobRun::on_slice(std::int64_t now_us, const net::NodeKey& peer, const net::Slice& slice) {
  for (auto& [stage, learner] : learners_) learner->on_slice(now_us, peer, slice);
  mirrors_.on_slice(now_us, peer, slice);
}

void JobRun::on_tick(std::int64_t now_us) {
  for (auto& [stage, learner] : learners_) {
    learner->on_tick(now_us);
    if (phase_ == Phase::failed) return;
  }
  mirrors_.on_tick(now_us);
}

std::optional<net::Tensor> JobRun::read_state(const net::SliceRequest& request) const {
  const std::size_t part = net::part_number(request.part);
  const auto shared = shared_.find({request.stage, request.commit, net::is_of_layers_alone(request.part)});
  if (request.job != context_.job) return std::nullopt;
  if (shared == shared_.end() || part >= shared->second.parts.size()) return mirrors_.read(request);
  const net::Tensor& whole = shared->second.parts[part];
  const std::uint64_t elements = whole.payload.size() / sizeof(float);
  if (request.begin > elements || request.elements > elements - request.begin) return std::nullopt;
  return net::Tensor{net::DType::float32,
                     {static_cast<std::int64_t>(request.elements)},
                     whole.payload.slice(request.begin * sizeof(float), request.elements * sizeof(float))};
}

void JobRun::pump(std::int64_t now_us) {
  end_lessons();
  take_change(now_us);
  while (!local_.empty()) {
    const net::Message message = std::move(local_.front());
    local_.pop_front();
    if (const auto* slice = std::get_if<net::Slice>(&message))
      on_slice(now_us, context_.options->key, *slice);
    else
      on_data(now_us, context_.options->key, message);
  }
  if (phase_ == Phase::catching_up) go_on_if_level(now_us);
  if (phase_ != Phase::running && phase_ != Phase::initialising) return;
  if (phase_ == Phase::running) begin_averages(now_us);
  commit_if_ready(now_us);
  if (!local_.empty()) return pump(now_us);
  if (phase_ != Phase::running || !ports_.desk_free()) return;
  if (auto pick = pipeline_.pick(now_us)) ports_.queue_task(std::move(pick->task), std::move(pick->done));
}

void JobRun::begin_averages(std::int64_t now_us) {
  if (context_.begins()) return;
  for (auto& [stage, averager] : averagers_)
    if (!averager.begun() && pipeline_.complete(stage))
      averager.on_gradient_complete(now_us, pipeline_.added(stage));
}

void JobRun::fail(std::int64_t now_us, const std::string& reason) {
  if (phase_ == Phase::failed) return;
  phase_ = Phase::failed;
  failure_ = reason;
  ports_.log(now_us, net::LogLevel::error, std::nullopt,
             "step " + std::to_string(context_.step) + ": " + reason);
  ports_.post_scheduler(now_us, net::JobFault{context_.scope(), reason});
}

std::vector<net::JobFault> JobRun::faults() const {
  if (phase_ == Phase::failed) return {{context_.scope(), failure_}};
  std::vector<net::JobFault> faults;
  for (const auto& [stage, reason] : given_up_) faults.push_back({context_.scope(), reason, stage});
  return faults;
}

net::JobProgress JobRun::progress() const {
  const bool learned =
      !learners_.empty() && given_up_.empty() &&
      std::ranges::all_of(learners_, [](const auto& entry) { return entry.second->level(); });
  const bool is_over = phase_ == Phase::finished && context_.my_stages.empty() && !ports_.has_posted();
  // A plan is worked under once its stages are all here.
  // Nor before it is heard where the others go on.
  const bool hears = phase_ == Phase::waiting && context_.my_stages.empty();
  const bool works = phase_ != Phase::catching_up && phase_ != Phase::failed && !hears;
  const std::uint64_t epoch = context_.plan.epoch - (works ? 0 : 1);
  return {context_.job,    epoch,
          applied_,        "step " + std::to_string(context_.step) + ": " + activity(),
          resident_bytes_, learned || is_over};
}

std::string JobRun::activity() const {
  std::string what;
  const auto add = [&](const std::string& text) {
    if (!text.empty()) what += (what.empty() ? "" : "; ") + text;
  };
  switch (phase_) {
    case Phase::initialising:
      return "makes weights";
    case Phase::updating:
      return "updates weights";
    case Phase::saving:
      return "saves a snapshot";
    case Phase::waiting:
      add(handover_.describe());
      return what.empty() ? "waits for where plan " + std::to_string(context_.plan.epoch) + " begins" : what;
    case Phase::finished:
      return "finished";
    case Phase::failed:
      return "failed";
    case Phase::running:
      add(pipeline_.describe());
      for (const auto& [stage, averager] : averagers_) add(averager.describe());
      if (context_.leads()) add(ledger_.describe());
      break;
    case Phase::learning:
    case Phase::catching_up:
      break;
  }
  for (const auto& [stage, learner] : learners_) add(learner->describe());
  return what.empty() ? "waits for Commit" : what;
}

void JobRun::check_invariants() const {
  pipeline_.check_invariants();
  SIDESTEP_ASSERT(applied_ == context_.step || applied_ + 1 == context_.step);
  for (const auto& [peer, message] : early_) {
    const net::Scope* scope = scope_of(message);
    SIDESTEP_ASSERT(scope && (scope->step >= context_.step || scope->epoch > context_.plan.epoch ||
                              phase_ == Phase::waiting || change_ || !context_.plan.learners.empty()));
  }
}

}  // namespace sidestep::daemon

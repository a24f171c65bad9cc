// Another plan takes the place of the one before: at once, when a node was lost, or at a Commit.
#include <algorithm>

#include "daemon/core/job_run.h"
#include "daemon/core/learner.h"
#include "daemon/core/rebuild.h"
#include "scheduler/sources.h"

namespace sidestep::daemon {
namespace {

const auto nobody_waits = [](std::int64_t, const Completion&) {};

}  // namespace

void JobRun::on_order(std::int64_t now_us, PlanOrder order) {
  const std::uint64_t epoch = order.plan.epoch;
  if (epoch <= (change_ ? change_->plan.epoch : context_.plan.epoch)) return;  // a repeat, or overtaken
  if (order.at_commit) {
    offered_.emplace(epoch, std::move(order));
    return;
  }
  std::erase_if(offered_, [&](const auto& entry) { return entry.first < epoch; });
  change_ = std::move(order);
  take_change(now_us);
}

void JobRun::take_change(std::int64_t now_us) {
  const bool may = phase_ == Phase::running || phase_ == Phase::waiting || phase_ == Phase::finished ||
                   phase_ == Phase::catching_up || phase_ == Phase::learning;
  if (!change_ || !may) return;
  PlanOrder change = *std::exchange(change_, std::nullopt);
  const net::NodeKey& self = context_.options->key;
  std::vector<std::uint32_t> held = context_.my_stages;
  // What a plan named by a Commit does without has been dropped.
  if (phase_ == Phase::catching_up)
    std::erase_if(held, [&](std::uint32_t stage) { return !context_.plan.holds(self, stage); });
  // Fewer than it has: whoever planned did not know which of two plans the last Commit had named.
  const std::vector<std::uint32_t>& wanted = change.plan.stages(self);
  const bool learns_on = !change.plan.lessons(self).empty();
  if ((wanted.empty() && !learns_on) || !std::ranges::includes(held, wanted))
    return fail(now_us,
                "plan " + std::to_string(change.plan.epoch) + " gives this node other stages than it has");
  // What learners are given of the last step that was committed stays on its way.
  ports_.drop_posted([&](const net::NodeKey& to, const net::Message& message) {
    if (std::holds_alternative<net::MirrorKept>(message)) return false;
    const std::optional<std::uint32_t> lesson = stage_of_lesson(message);
    if (!lesson) return true;
    const Pupil pupil{to, *lesson, !context_.plan.learns(to, *lesson)};
    return !wants(context_.plan, pupil) || !wants(change.plan, pupil);
  });
  ports_.abandon_step();
  local_.clear();
  withheld_.reset();
  kept_by_.clear();
  adopt_epoch_ = 0;
  pipeline_.abandon();
  context_.timer.abandon();
  std::set<std::uint32_t> dropped(context_.plan.lessons(self).begin(), context_.plan.lessons(self).end());
  for (const auto& [stage, learner] : learners_) dropped.insert(stage);
  std::erase_if(dropped, [&](std::uint32_t stage) { return goes_on(stage, change.plan); });
  for (const std::uint32_t stage : held)
    if (!scheduler::has_stage(wanted, stage)) dropped.insert(stage);
  for (const std::uint32_t stage : dropped) {
    learners_.erase(stage);
    adding_.erase(stage);
    given_up_.erase(stage);
    averagers_.erase(stage);
    elements_.erase(stage);
    ports_.queue_task(DropStage{stage}, nobody_waits);
  }
  for (const auto& [stage, learner] : learners_) learner->on_change();
  std::erase_if(context_.recoveries,
                [&](const auto& entry) { return !scheduler::has_stage(wanted, entry.first); });
  context_.my_stages = wanted;
  context_.plan = std::move(change.plan);
  context_.view = std::move(change.view);
  context_.lead = context_.plan.lead_origin();
  forget_pupils();
  mirrors_.on_plan();
  changed_ = true;
  phase_ = Phase::waiting;
  // Who holds nothing only hears where the others go on.
  if (!wanted.empty()) handover_.begin(now_us, next_step(), change.stored);
  take_held(now_us);
}

bool JobRun::goes_on(std::uint32_t lesson, const scheduler::Plan& plan) const {
  const net::NodeKey& self = context_.options->key;
  return context_.plan.learns(self, lesson) && plan.learns(self, lesson) && !given_up_.contains(lesson) &&
         (learners_.contains(lesson) || adding_.contains(lesson));
}

void JobRun::on_resume(std::int64_t now_us, const net::NodeKey& peer, const net::Resume& resume) {
  if (phase_ != Phase::waiting) return;  // a repeat
  if (peer != context_.lead)
    return ports_.log(now_us, net::LogLevel::warning, std::nullopt,
                      "dropped Resume from " + context_.name_of(peer) + ": it is not the lead origin");
  const std::uint64_t mine = next_step();  // as in its Standing
  for (const auto& [stage, learner] : learners_) learner->on_resume(now_us, resume.scope.step);
  if (phase_ == Phase::failed) return;
  if (mine == first_commit() && resume.scope.step > first_commit() + 1)
    return fail(now_us, "plan " + std::to_string(context_.plan.epoch) + " goes on at step " +
                            std::to_string(resume.scope.step) + ", and this node has only the first weights");
  if (context_.my_stages.empty() && (resume.scope.step < mine || resume.scope.step > mine + 1))
    return fail(now_us, "plan " + std::to_string(context_.plan.epoch) + " goes on at step " +
                            std::to_string(resume.scope.step) + ", and this node heard of those before " +
                            std::to_string(mine));
  if (resume.scope.step > mine) {
    if (context_.my_stages.empty()) phase_ = Phase::learning;
    context_.step = resume.scope.step - 1;
    return apply(now_us, {context_.scope(), context_.plan.epoch, resume.terms});
  }
  if (resume.terms.last && resume.scope.step == mine && applied_ == context_.step &&
      context_.step > first_commit()) {
    phase_ = Phase::finished;
    return;
  }
  context_.step = mine;
  if (!context_.my_stages.empty()) return begin_step(now_us);
  phase_ = Phase::learning;
  take_held(now_us);
}

void JobRun::take_offered(std::int64_t now_us, std::uint64_t epoch) {
  const auto offered = offered_.find(epoch);
  if (offered == offered_.end())
    return fail(now_us, "the Commit of step " + std::to_string(context_.step) + " names plan " +
                            std::to_string(epoch) + ", which this node has not got");
  PlanOrder order = std::move(offered->second);
  offered_.erase(offered_.begin(), std::next(offered));
  const scheduler::Plan before = std::exchange(context_.plan, std::move(order.plan));
  context_.view = std::move(order.view);
  context_.lead = context_.plan.lead_origin();
  adopt_epoch_ = 0;
  // What was on its way to those that learn no more.
  ports_.drop_posted([&](const net::NodeKey& to, const net::Message& message) {
    const std::optional<std::uint32_t> stage = stage_of_lesson(message);
    return stage && !context_.plan.holds(to, *stage) && !context_.plan.learns(to, *stage) &&
           !context_.plan.keeps(to, *stage);
  });
  mirrors_.on_plan();
  drop_stages(before);
  learned_before_ = before.learners;
  phase_ = Phase::catching_up;
  go_on_if_level(now_us);
}

// Of those that this node held or learned, what the plan does not give it.
void JobRun::drop_stages(const scheduler::Plan& before) {
  const net::NodeKey& self = context_.options->key;
  const auto wanted = [&](std::uint32_t stage) {
    return context_.plan.holds(self, stage) || context_.plan.learns(self, stage);
  };
  std::vector<std::uint32_t> had = context_.my_stages;
  const std::vector<std::uint32_t>& learned = before.lessons(self);
  had.insert(had.end(), learned.begin(), learned.end());
  for (const std::uint32_t stage : had) {
    if (wanted(stage)) continue;
    learners_.erase(stage);
    averagers_.erase(stage);
    elements_.erase(stage);
    given_up_.erase(stage);
    ports_.queue_task(DropStage{stage}, nobody_waits);
  }
  // A source may have been handed over: those that pull it here go on.
  forget_pupils();
}

void JobRun::forget_pupils() {
  std::erase_if(shared_, [&](const auto& entry) {
    return std::ranges::none_of(entry.second.pupils,
                                [&](const Pupil& pupil) { return wants(context_.plan, pupil); });
  });
}

// To those that begin to learn a stage of this node's, or to rebuild others out of it, also where this node
// has only just taken it. The state is that of the step just committed: nothing else goes before these tasks.
void JobRun::share_states(std::int64_t now_us) {
  for (const std::uint32_t stage : context_.my_stages) {
    std::vector<Pupil> learning = beginners(stage), rebuilding;
    for (const std::uint32_t out : context_.plan.stages_out) {
      const auto sources = scheduler::rebuild_sources(context_.spec, context_.plan, out);
      if (std::ranges::find(sources, stage, &scheduler::RebuildSource::stage) == sources.end()) continue;
      const std::vector<Pupil> more = beginners(out);
      rebuilding.insert(rebuilding.end(), more.begin(), more.end());
    }
    share_state({stage, context_.step, false}, std::move(learning));
    share_state({stage, context_.step, true}, std::move(rebuilding));
  }
  offer_mirrors(now_us);
}

// Those that the plan has learn, or rebuild, the stage, and the one before did not.
std::vector<JobRun::Pupil> JobRun::beginners(std::uint32_t lesson) const {
  std::vector<Pupil> pupils;
  for (const net::NodeKey& node : context_.plan.learners_of(lesson)) {
    const auto before = learned_before_.find(node);
    if (before == learned_before_.end() || !scheduler::has_stage(before->second, lesson))
      pupils.push_back({node, lesson});
  }
  return pupils;
}

void JobRun::share_state(const SharedName& name, std::vector<Pupil> pupils) {
  if (pupils.empty()) return;
  const auto [stage, commit, layers_alone] = name;
  ports_.queue_task(
      CopyState{stage, layers_alone}, [this, name, pupils = std::move(pupils), scope = context_.scope()](
                                          std::int64_t now, const Completion& done) {
        SharedState& shared = shared_[name];
        shared.pupils.insert(shared.pupils.end(), pupils.begin(), pupils.end());
        shared.parts = done.state;
        forget_pupils();
        for (const Pupil& pupil : pupils)
          if (wants(context_.plan, pupil))
            context_.post(now, pupil.node,
                          net::StateOffer{
                              scope, std::get<0>(name), pupil.lesson,
                              done.state.empty() ? 0 : done.state.front().payload.size() / sizeof(float),
                              done.traits.updates, done.traits.gradient_norm, done.traits.learning_rate_scale,
                              done.digests, done.fault.empty() ? done.problem : done.fault});
      });
}

void JobRun::go_on_if_level(std::int64_t now_us) {
  const net::NodeKey& self = context_.options->key;
  const std::vector<std::uint32_t>& mine = context_.plan.stages(self);
  for (const std::uint32_t stage : mine) {
    if (given_up_.contains(stage))
      return fail(now_us, "plan " + std::to_string(context_.plan.epoch) + " gives this node stage " +
                              std::to_string(stage) + ", which it failed to learn");
    const auto learner = learners_.find(stage);
    if (learner != learners_.end() && !learner->second->level()) return;
  }
  for (const std::uint32_t stage : mine) {
    const auto learner = learners_.find(stage);
    if (learner == learners_.end()) continue;
    if (auto recovery = learner->second->recovery()) context_.recoveries[stage] = std::move(*recovery);
    learners_.erase(learner);
  }
  std::vector<std::uint32_t> added = mine;
  std::erase_if(added, [&](std::uint32_t stage) { return scheduler::has_stage(context_.my_stages, stage); });
  context_.my_stages = mine;
  make_averagers();
  for (const std::uint32_t stage : added) log_stage(now_us, stage);
  share_states(now_us);
  learn_stages();
  if (mine.empty() && context_.plan.lessons(self).empty()) {
    phase_ = Phase::finished;
    ports_.log(now_us, net::LogLevel::info, std::nullopt,
               "plan " + std::to_string(context_.plan.epoch) + " does without this node");
    return;
  }
  ++context_.step;
  if (!mine.empty()) return begin_step(now_us);
  phase_ = Phase::learning;
  take_held(now_us);
}

// Those that the plan under way has this node learn, beside what it has.
void JobRun::learn_stages() {
  for (const std::uint32_t stage : context_.plan.lessons(context_.options->key)) {
    if (learners_.contains(stage) || given_up_.contains(stage) || adding_.contains(stage)) continue;
    adding_[stage] = context_.plan.epoch;
    ports_.queue_task(AddStage{stage}, [this, stage, begin = LessonBegin{context_.plan.epoch, context_.step}](
                                           std::int64_t now, const Completion& done) {
      const auto wanted = adding_.find(stage);
      if (wanted == adding_.end() || wanted->second != begin.epoch) return;  // another plan does without it
      adding_.erase(wanted);
      if (!done.fault.empty()) {
        fail_lesson(now, stage, done.fault);
      } else {
        elements_[stage] = done.gradient_elements.at(0);
        learn(stage, elements_[stage], begin);
      }
      take_held(now);
    });
  }
}

void JobRun::learn(std::uint32_t stage, std::uint64_t elements, LessonBegin begin) {
  Lesson::Ports ports;
  ports.ask = [this](const net::NodeKey& to, const net::SliceRequest& request) {
    if (to != context_.options->key) return ports_.send_data(to, request);
    // A stage may be rebuilt out of one that this node holds.
    if (std::optional<net::Tensor> slice = read_state(request))
      local_.push_back(net::Slice{request.job, request.commit, request.stage, request.part, request.begin, "",
                                  std::move(*slice)});
  };
  ports.fail = [this, stage](std::int64_t now, const std::string& why) { fail_lesson(now, stage, why); };
  if (context_.plan.is_out(stage))
    learners_.emplace(stage, std::make_unique<Rebuild>(context_, stage, elements, begin, std::move(ports)));
  else
    learners_.emplace(stage, std::make_unique<Learner>(context_, stage, elements, begin, std::move(ports)));
}

// A node that holds a stage goes on with that one; the learner ends when nobody calls it (end_lessons).
void JobRun::fail_lesson(std::int64_t now_us, std::uint32_t stage, const std::string& why) {
  const std::string reason = (context_.plan.is_out(stage) ? "rebuilding stage " : "learning stage ") +
                             std::to_string(stage) + ": " + why;
  if (phase_ == Phase::catching_up || context_.my_stages.empty()) return fail(now_us, reason);
  if (phase_ == Phase::failed || !given_up_.emplace(stage, reason).second) return;
  ports_.log(now_us, net::LogLevel::error, stage, "step " + std::to_string(context_.step) + ": " + reason);
  ports_.post_scheduler(now_us, net::JobFault{context_.scope(), reason, stage});
}

void JobRun::end_lessons() {
  for (const auto& [stage, reason] : given_up_)
    if (learners_.erase(stage) > 0) ports_.queue_task(DropStage{stage}, nobody_waits);
}

}  // namespace sidestep::daemon

#include "daemon/core/rebuild.h"

namespace sidestep::daemon {
namespace {

recovery::RebuildRequest request_for(const JobContext& context, std::uint32_t stage, std::uint64_t elements,
                                     const LessonBegin& begin) {
  recovery::RebuildRequest request;
  request.job = context.job;
  request.recovery = context.spec.recovery;
  request.self = context.options->key;
  request.stage = stage;
  request.elements = elements;
  request.epoch = begin.epoch;
  request.commit = begin.base;
  request.commit_max = static_cast<std::uint64_t>(context.spec.final_step());
  request.sources = scheduler::rebuild_sources(context.spec, context.plan, stage);
  return request;
}

}  // namespace

Rebuild::Rebuild(JobContext& context, std::uint32_t stage, std::uint64_t elements, LessonBegin begin,
                 Ports ports)
    : Lesson(context, stage, std::move(ports)), core_(request_for(context, stage, elements, begin)) {}

void Rebuild::on_offer(std::int64_t now_us, const net::NodeKey& peer, const net::StateOffer& offer) {
  recovery::RebuildActions actions;
  core_.on_offer(now_us, peer, context_.name_of(peer), offer, actions);
  act(now_us, std::move(actions));
}

void Rebuild::on_slice(std::int64_t now_us, const net::NodeKey& peer, const net::Slice& slice) {
  recovery::RebuildActions actions;
  core_.on_slice(now_us, peer, slice, actions);
  act(now_us, std::move(actions));
}

void Rebuild::on_tick(std::int64_t now_us) {
  recovery::RebuildActions actions;
  core_.on_tick(now_us, actions);
  act(now_us, std::move(actions));
}

void Rebuild::act(std::int64_t now_us, recovery::RebuildActions actions) {
  for (recovery::RebuildAction& action : actions) {
    if (auto* ask = std::get_if<recovery::AskSlice>(&action)) {
      ports_.ask(ask->to, ask->request);
    } else if (auto* combine = std::get_if<recovery::Combine>(&action)) {
      StoreState task{stage_, combine->part, combine->begin, {}};
      for (auto& [values, weight] : combine->slices) task.sources.push_back({std::move(values), weight});
      queue(std::move(task), [this](std::int64_t now, const Completion&) {
        recovery::RebuildActions next;
        core_.on_combined(now, next);
        act(now, std::move(next));
      });
    } else if (auto* finish = std::get_if<recovery::Finish>(&action)) {
      const StateTraits traits{finish->updates, finish->gradient_norm, finish->learning_rate_scale};
      const auto made_of = finish->from_mirror ? FinishState::MadeOf::mirror : FinishState::MadeOf::others;
      queue(FinishState{stage_, finish->commit, traits, made_of},
            [this](std::int64_t now, const Completion&) {
              recovery::RebuildActions next;
              core_.on_finished(now, next);
              act(now, std::move(next));
            });
    } else if (auto* tell = std::get_if<recovery::Tell>(&action)) {
      context_.log(now_us, tell->level, stage_, std::move(tell->text));
    } else if (auto* end = std::get_if<recovery::GiveUp>(&action)) {
      ports_.fail(now_us, end->why);
    }
  }
}

}  // namespace sidestep::daemon

#include "daemon/core/learner.h"

#include <algorithm>

#include "net/clock.h"

namespace sidestep::daemon {
namespace {

// Averages that may wait for the state: each is as large as the stage.
constexpr std::uint64_t waiting_bytes_max = 2ull << 30;
constexpr std::uint64_t waiting_steps_min = 4;

}  // namespace

Learner::Learner(JobContext& context, std::uint32_t stage, std::uint64_t elements, LessonBegin begin,
                 Ports ports)
    : Lesson(context, stage, std::move(ports)), elements_(elements), epoch_(begin.epoch), base_(begin.base) {
  if (base_) next_ = *base_ + 1;
}

void Learner::on_offer(std::int64_t now_us, const net::NodeKey& peer, const net::StateOffer& offer) {
  if (!pulls_.empty() || loaded_ || offers_.contains(peer)) return;
  const std::string where = "stage " + std::to_string(stage_) + " at " + context_.name_of(peer);
  const bool due = offer.scope.epoch == epoch_ && (!base_ || *base_ == offer.scope.step) &&
                   offer.scope.step <= static_cast<std::uint64_t>(context_.spec.final_step());
  const bool fits = offer.elements == elements_ && offer.digests.size() == net::state_parts &&
                    offer.updates <= offer.scope.step;
  if (!context_.plan.holds(peer, stage_) || !due || !(fits || !offer.problem.empty()))
    return context_.log(now_us, net::LogLevel::warning, stage_,
                        "dropped the offer of " + where + ": it is not what the plan says");
  if (offer.problem.empty()) {
    base_ = offer.scope.step;
    next_ = *base_ + 1;
  } else {
    context_.log(now_us, net::LogLevel::warning, stage_, where + " cannot be had: " + offer.problem);
  }
  offers_.emplace(peer, offer);
  if (!first_offer_us_) first_offer_us_ = now_us;
  begin_pull(now_us);
}

void Learner::begin_pull(std::int64_t now_us) {
  if (!pulls_.empty() || loaded_ || !first_offer_us_) return;
  const bool all = offers_.size() == context_.plan.replicas(stage_).size();
  if (!all && now_us - *first_offer_us_ < recovery::PullOptions().offers_wait_us) return;
  std::erase_if(offers_, [](const auto& offer) { return !offer.second.problem.empty(); });
  // One count of updates: those that have another are not replicas of the first.
  std::erase_if(offers_,
                [&](const auto& offer) { return offer.second.updates != offers_.begin()->second.updates; });
  if (offers_.empty()) return ports_.fail(now_us, "no replica can give its state");
  for (std::size_t part = 0; part < net::state_parts; ++part) pulls_.push_back(puller(part));
  on_tick(now_us);
}

// Weights first; each part from another replica, if there are so many.
recovery::SlicePuller Learner::puller(std::size_t part) {
  recovery::PullRequest request{context_.job, *base_, stage_, net::state_part(part), elements_, {}};
  for (const auto& [node, offer] : offers_)
    request.sources.push_back({node, context_.name_of(node), offer.digests[part]});
  std::rotate(request.sources.begin(),
              request.sources.begin() + static_cast<std::ptrdiff_t>(part % request.sources.size()),
              request.sources.end());
  return recovery::SlicePuller(
      std::move(request), {}, [this, part](std::uint64_t begin, std::span<const std::byte>) {
        ++storing_;
        queue(StoreState{stage_, net::state_part(part), begin, {{incoming_->tensor, 1}}},
              [this](std::int64_t, const Completion&) {
                --storing_;
                finish_if_stored();
              });
        return Status();
      });
}

void Learner::send(const std::vector<recovery::SlicePuller::Outgoing>& requests) const {
  for (const recovery::SlicePuller::Outgoing& one : requests) ports_.ask(one.to, one.request);
}

void Learner::on_tick(std::int64_t now_us) {
  begin_pull(now_us);
  std::vector<recovery::SlicePuller::Outgoing> out;
  for (recovery::SlicePuller& pull : pulls_) {
    pull.on_tick(now_us, out);
    if (pull.failed()) return ports_.fail(now_us, pull.failure().message());
  }
  send(out);
  if (!pulls_.empty()) finish_if_stored();
}

void Learner::on_slice(std::int64_t now_us, const net::NodeKey& peer, const net::Slice& slice) {
  const auto part = static_cast<std::size_t>(slice.part);
  if (part >= pulls_.size()) return;
  std::vector<recovery::SlicePuller::Outgoing> out;
  incoming_ = &slice;
  pulls_[part].on_slice(now_us, peer, slice, out);
  incoming_ = nullptr;
  send(out);
}

void Learner::finish_if_stored() {
  const bool all =
      std::ranges::all_of(pulls_, [](const recovery::SlicePuller& pull) { return pull.complete(); });
  if (!all || storing_ > 0 || finishing_ || loaded_) return;
  finishing_ = true;
  const net::StateOffer& offer = offers_.begin()->second;
  queue(FinishState{stage_, *base_, {offer.updates, offer.gradient_norm, offer.learning_rate_scale}},
        [this](std::int64_t now, const Completion& done) { on_finished(now, done); });
}

void Learner::on_finished(std::int64_t now_us, const Completion& done) {
  finishing_ = false;
  bool right = true;
  for (std::size_t part = 0; part < net::state_parts; ++part) {
    const std::string digest = part < done.digests.size() ? done.digests[part] : "";
    if (pulls_[part].source().digest == digest) continue;
    right = false;
    pulls_[part].reject("its digest is " + digest + ", not the " + pulls_[part].source().digest +
                        " that it offered");
  }
  if (!right) return on_tick(now_us);
  loaded_ = true;
  pulls_.clear();
  context_.log(now_us, net::LogLevel::info, stage_,
               "has the state of stage " + std::to_string(stage_) + " after step " + std::to_string(*base_));
  advance();
}

Learner::Step* Learner::find_step(std::uint64_t step) {
  const auto known = steps_.find(step);
  if (known != steps_.end()) return &known->second;
  if (step != context_.step || step < next_) return nullptr;
  std::uint32_t visits = 0;
  if (context_.trains())
    for (const scheduler::PlannedRoute& route : context_.routes())
      for (const net::Hop& hop : route.hops) visits += hop.stage == stage_ ? 1 : 0;
  return &steps_.emplace(step, Step{context_.plan.epoch, context_.cut_of(stage_, elements_), visits, {}})
              .first->second;
}

std::string Learner::objection(const Step& step, const net::NodeKey& peer,
                               const net::AverageChunk& chunk) const {
  if (chunk.phase != net::AveragePhase::gather || chunk.attempt != 1 || chunk.chunk >= step.cut.count())
    return "it is none of the step's averages";
  if (step.cut.owner(chunk.chunk) != peer) return "it is for another owner";
  const auto length = static_cast<std::int64_t>(step.cut.length(chunk.chunk));
  if (chunk.tensor.dtype != net::DType::float32 || chunk.tensor.shape != std::vector<std::int64_t>{length})
    return "its length is not " + std::to_string(length);
  if (chunk.visits != step.visits)
    return "it counts " + std::to_string(chunk.visits) + " microbatches, the plan " +
           std::to_string(step.visits);
  return {};
}

void Learner::on_chunk(std::int64_t now_us, const net::NodeKey& peer, const net::AverageChunk& chunk) {
  const bool is_known = steps_.contains(chunk.scope.step) || chunk.scope.epoch == context_.plan.epoch;
  Step* step = is_known ? find_step(chunk.scope.step) : nullptr;
  if (step == nullptr || step->epoch != chunk.scope.epoch) return;  // it is over
  if (const std::string why = objection(*step, peer, chunk); !why.empty())
    return context_.log(now_us, net::LogLevel::warning, stage_,
                        "dropped chunk " + std::to_string(chunk.chunk) + " of the average from " +
                            context_.name_of(peer) + ": " + why);
  step->chunks.emplace(chunk.chunk, chunk.tensor);
  advance();
}

void Learner::on_resume(std::int64_t now_us, std::uint64_t step) {
  steps_.erase(steps_.lower_bound(step), steps_.end());
  // What was sent of a step that was committed before this lesson began does not come again.
  for (std::uint64_t missed = next_; base_ && missed < step; ++missed)
    if (!steps_.contains(missed))
      return ports_.fail(now_us, "the average of step " + std::to_string(missed) +
                                     " went by while another plan took effect");
}

void Learner::on_commit(std::int64_t now_us, bool skip_update) {
  Step* step = find_step(context_.step);
  SIDESTEP_ASSERT(step != nullptr && !step->committed);
  step->committed = true;
  step->skip_update = skip_update;
  const std::uint64_t average_bytes = std::max<std::uint64_t>(1, elements_ * sizeof(float));
  if (steps_.size() > std::max(waiting_steps_min, waiting_bytes_max / average_bytes))
    return ports_.fail(now_us,
                       std::to_string(steps_.size()) + " steps were committed before its state was here");
  advance();
}

void Learner::advance() {
  const auto found = steps_.find(next_);
  if (!loaded_ || catching_up_ || found == steps_.end() || !found->second.committed) return;
  Step& step = found->second;
  const bool updates = !step.skip_update && step.visits > 0 && elements_ > 0;
  if (updates && step.chunks.size() < step.cut.count()) return;
  CatchUp task{next_, stage_, {}};
  if (updates)
    for (auto& [chunk, values] : step.chunks)
      task.average.push_back({step.cut.begin(chunk), std::move(values)});
  step.chunks.clear();
  catching_up_ = true;
  queue(std::move(task), [this](std::int64_t, const Completion&) {
    catching_up_ = false;
    steps_.erase(next_++);
    advance();
  });
}

std::string Learner::describe() const {
  const std::string what = "stage " + std::to_string(stage_);
  if (loaded_) return "learns " + what + ", " + std::to_string(steps_.size()) + " steps behind";
  if (pulls_.empty()) return "waits for the state of " + what;
  std::uint64_t received = 0;
  for (const recovery::SlicePuller& pull : pulls_) received += pull.received();
  return "pulls " + what + ": " + std::to_string(received >> 18) + " of " +
         std::to_string(net::state_parts * elements_ >> 18) + " MiB";
}

}  // namespace sidestep::daemon

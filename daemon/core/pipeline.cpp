#include "daemon/core/pipeline.h"

#include <algorithm>

namespace sidestep::daemon {
namespace {

std::uint32_t stage_of(const net::MicrobatchHop& hop) {
  return hop.hop < hop.route.size() ? hop.route[hop.hop].stage : 0;
}

}  // namespace

void Pipeline::begin_step(std::int64_t now_us) {
  SIDESTEP_ASSERT(queue_.empty() && slots_taken_.empty() && recomputing_.empty());
  seen_.clear();
  losses_.clear();
  added_.clear();
  to_add_.clear();
  lanes_.clear();
  const net::NodeKey& self = context_.options->key;
  for (const scheduler::PlannedRoute& route : context_.routes())
    for (const net::Hop& hop : route.hops)
      if (hop.node == self) to_add_[hop.stage] += hop.stage == 0 ? 2 : 1;
  if (context_.spec.deterministic) plan_lanes();
  for (const scheduler::PlannedRoute& route : context_.plan.evaluations)
    if (route.microbatch < context_.evaluations() && route.hops.front().node == self)
      inject(now_us, route, true);
  for (const scheduler::PlannedRoute& route : context_.routes())
    if (route.hops.front().node == self) inject(now_us, route, false);
}

void Pipeline::abandon() {
  queue_.clear();
  running_.clear();
  slots_taken_.clear();
  recomputing_.clear();
}

void Pipeline::inject(std::int64_t now_us, const scheduler::PlannedRoute& route, bool evaluation) {
  Work work;
  work.injected = true;
  work.arrived_us = now_us;
  work.hop.scope = context_.scope();
  work.hop.microbatch = route.microbatch;
  work.hop.attempt = 1;
  work.hop.evaluation = evaluation;
  work.hop.route = route.hops;
  queue_.push_back(std::move(work));
}

// A tied embedding takes additions from head and backward alike, so their order is fixed too: head k + w
// comes after backward k, w being the slots, which is the order in which slots free anyway.
void Pipeline::plan_lanes() {
  const net::NodeKey& self = context_.options->key;
  for (const scheduler::PlannedRoute& route : context_.routes())
    for (const net::Hop& hop : route.hops) {
      if (hop.node != self) continue;
      if (hop.stage == 0) lanes_[lane_of(0, true)].push_back({route.microbatch, 1, true});
      if (hop.stage != 0 || lane_of(0, true) != lane_of(0, false))
        lanes_[lane_of(hop.stage, false)].push_back({route.microbatch, 1, false});
    }
  if (lane_of(0, true) != lane_of(0, false)) return;
  std::deque<net::Added>& lane = lanes_[lane_of(0, false)];
  const std::deque<net::Added> heads = std::exchange(lane, {});
  const std::size_t window = std::max<std::size_t>(1, slots());
  for (std::size_t i = 0; i < heads.size() + window; ++i) {
    if (i >= window) {
      net::Added backward = heads[i - window];
      backward.head = false;
      lane.push_back(backward);
    }
    if (i < heads.size()) lane.push_back(heads[i]);
  }
}

Pipeline::Lane Pipeline::lane_of(std::uint32_t stage, bool head) const {
  return {stage, head && !context_.spec.model.tie_word_embeddings};
}

const scheduler::PlannedRoute* Pipeline::planned(const net::MicrobatchHop& hop) const {
  const auto& routes = hop.evaluation ? context_.plan.evaluations : context_.routes();
  if (hop.evaluation && hop.microbatch >= context_.evaluations()) return nullptr;
  const auto it = std::find_if(routes.begin(), routes.end(),
                               [&](const auto& route) { return route.microbatch == hop.microbatch; });
  return it == routes.end() ? nullptr : &*it;
}

// Why a hop cannot be taken; empty if it can.
std::string Pipeline::objection(const net::NodeKey& peer, const net::MicrobatchHop& hop) const {
  const scheduler::PlannedRoute* route = planned(hop);
  if (!route) return "no such microbatch in this step";
  if (hop.attempt != 1 || hop.route != route->hops) return "not the planned route";
  const bool forward = hop.direction == net::Direction::forward;
  if (!forward && hop.evaluation) return "a validation microbatch has no backward";
  const std::size_t length = hop.route.size();
  if (hop.hop > length || (!forward && hop.hop == length) || (forward && hop.hop == 0))
    return "hop " + std::to_string(hop.hop) + " of a route of " + std::to_string(length);
  const net::NodeKey& here = hop.hop == length ? hop.route[0].node : hop.route[hop.hop].node;
  if (here != context_.options->key) return "its hop is at another node";
  const net::NodeKey& before = forward                ? hop.route[hop.hop - 1].node
                               : hop.hop + 1 < length ? hop.route[hop.hop + 1].node
                                                      : hop.route[0].node;
  if (before != peer) return "it should come from " + context_.name_of(before);
  const scheduler::JobSpec& spec = context_.spec;
  const std::vector<std::int64_t> shape{spec.pipeline.microbatch_size, spec.data.sequence_length,
                                        spec.model.hidden_size};
  if (hop.tensor.dtype != spec.activation_dtype() || hop.tensor.shape != shape)
    return "its tensor has another shape or type than the job's activations";
  return {};
}

void Pipeline::on_hop(std::int64_t now_us, const net::NodeKey& peer, const net::MicrobatchHop& hop) {
  if (const std::string why = objection(peer, hop); !why.empty()) {
    context_.log(now_us, net::LogLevel::warning, std::nullopt,
                 "dropped microbatch " + std::to_string(hop.microbatch) + " from " + context_.name_of(peer) +
                     ": " + why);
    return;
  }
  const auto name = std::tuple(hop.evaluation, hop.microbatch, hop.attempt, hop.direction, hop.hop);
  if (seen_.contains(name)) return;
  if (hop.direction == net::Direction::backward && !forward_ran(hop)) {
    context_.log(now_us, net::LogLevel::warning, std::nullopt,
                 "dropped the backward of microbatch " + std::to_string(hop.microbatch) + " from " +
                     context_.name_of(peer) + ": its forward has not run here");
    return;
  }
  seen_.insert(name);
  Work work;
  work.kind = hop.direction == net::Direction::backward ? Kind::backward
              : hop.hop == hop.route.size()             ? Kind::head
                                                        : Kind::forward;
  work.arrived_us = now_us;
  work.hop = hop;
  queue_.push_back(std::move(work));
}

bool Pipeline::forward_ran(const net::MicrobatchHop& hop) const {
  const Place place{stage_of(hop), hop.microbatch};
  const bool head_ran = hop.hop != 0 || losses_.contains(hop.microbatch);
  return head_ran && (slots_taken_.contains(place) || recomputing_.contains(place));
}

std::uint32_t Pipeline::data_of(const net::MicrobatchHop& hop) const {
  return hop.evaluation ? context_.spec.validation_data(hop.microbatch) : hop.microbatch;
}

std::uint32_t Pipeline::slots() const {
  const auto it = context_.plan.slots_of.find(context_.options->key);
  return it == context_.plan.slots_of.end() ? 1 : it->second;
}

bool Pipeline::in_order(const Work& work) const {
  if (!context_.spec.deterministic || work.hop.evaluation || work.kind == Kind::forward) return true;
  const auto lane = lanes_.find(lane_of(stage_of(work.hop), work.kind == Kind::head));
  SIDESTEP_ASSERT(lane != lanes_.end() && !lane->second.empty());
  const net::Added& next = lane->second.front();
  return next.microbatch == work.hop.microbatch && next.head == (work.kind == Kind::head);
}

bool Pipeline::may_run(const Work& work, std::int64_t now_us) const {
  if (work.kind != Kind::forward) return in_order(work);
  if (work.hop.evaluation || slots_taken_.size() < slots()) return true;
  return !work.injected && now_us - work.arrived_us >= slot_deadline_us();
}

// Far apart a forward waits for seconds as planned, and one that ran earlier would only be in the way of
// others. Twice that: nobody is just as fast as planned.
std::int64_t Pipeline::slot_deadline_us() const {
  return std::max(context_.options->slot_deadline_us, 2 * context_.plan.phase(context_.step).planned_wait_us);
}

std::optional<Pipeline::Pick> Pipeline::pick(std::int64_t now_us) {
  auto chosen = queue_.end();
  for (auto it = queue_.begin(); it != queue_.end(); ++it) {
    if (!may_run(*it, now_us)) continue;
    if (it->kind != Kind::forward) {
      chosen = it;
      break;
    }
    if (chosen == queue_.end()) chosen = it;
  }
  if (chosen == queue_.end()) return std::nullopt;
  Work work = std::move(*chosen);
  queue_.erase(chosen);
  work.begun_us = now_us;
  return start(std::move(work));
}

Pipeline::Pick Pipeline::start(Work work) {
  const net::MicrobatchHop& hop = work.hop;
  const Place place{stage_of(hop), hop.microbatch};
  static constexpr const char* names[] = {"forward", "head", "backward"};
  running_ = std::string(names[static_cast<std::size_t>(work.kind)]) + " of microbatch " +
             std::to_string(hop.microbatch);
  Task task;
  switch (work.kind) {
    case Kind::forward: {
      bool save = false;
      if (!hop.evaluation) {
        save = slots_taken_.size() < slots();
        (save ? slots_taken_ : recomputing_).insert(place);
      }
      task = Forward{place.first, hop.scope.step, data_of(hop), hop.evaluation, save, hop.tensor};
      break;
    }
    case Kind::head:
      task = Head{hop.scope.step, data_of(hop), hop.evaluation, !hop.evaluation, hop.tensor};
      break;
    case Kind::backward:
      task = Backward{place.first, hop.scope.step, hop.microbatch, true, hop.tensor};
      break;
  }
  work.hop.tensor = {};  // the task holds it now
  return {std::move(task), [this, work](std::int64_t now_us, const Completion& completion) {
            on_done(now_us, work, completion);
          }};
}

void Pipeline::on_done(std::int64_t now_us, const Work& work, const Completion& completion) {
  const net::MicrobatchHop& done = work.hop;
  running_.clear();
  if (!completion.fault.empty()) {
    context_.fail(now_us, "microbatch " + std::to_string(done.microbatch) + ", stage " +
                              std::to_string(stage_of(done)) + ": " + completion.fault);
    return;
  }
  note_time(now_us, work);
  net::MicrobatchHop next = done;
  next.tensor = completion.tensor;
  const auto length = static_cast<std::uint32_t>(done.route.size());
  switch (work.kind) {
    case Kind::forward:
      next.hop = done.hop + 1;
      context_.post(now_us, next.hop == length ? done.route[0].node : done.route[next.hop].node,
                    std::move(next));
      return;
    case Kind::head:
      if (done.evaluation) return close(now_us, done, completion.loss);
      losses_[done.microbatch] = completion.loss;
      note_added(done, true);
      next.direction = net::Direction::backward;
      next.hop = length - 1;
      context_.post(now_us, done.route[next.hop].node, std::move(next));
      return;
    case Kind::backward: {
      const Place place{stage_of(done), done.microbatch};
      const std::size_t freed = slots_taken_.erase(place) + recomputing_.erase(place);
      SIDESTEP_ASSERT(freed == 1);
      note_added(done, false);
      if (done.hop == 0) return close(now_us, done, losses_.at(done.microbatch));
      next.hop = done.hop - 1;
      context_.post(now_us, done.route[next.hop].node, std::move(next));
      return;
    }
  }
}

void Pipeline::note_time(std::int64_t now_us, const Work& work) {
  const net::StepTaskKind kind = work.kind == Kind::forward ? net::StepTaskKind::forward
                                 : work.kind == Kind::head  ? net::StepTaskKind::head
                                                            : net::StepTaskKind::backward;
  context_.timer.task_ended({kind, work.hop.evaluation, work.hop.microbatch, stage_of(work.hop), work.hop.hop,
                             work.arrived_us, work.begun_us, now_us});
}

void Pipeline::close(std::int64_t now_us, const net::MicrobatchHop& hop, double loss) {
  context_.post(
      now_us, context_.lead,
      net::MicrobatchClosed{hop.scope, hop.microbatch, hop.attempt, hop.evaluation, loss, hop.route});
}

void Pipeline::note_added(const net::MicrobatchHop& hop, bool head) {
  const std::uint32_t stage = head ? 0 : stage_of(hop);
  added_[stage].push_back({hop.microbatch, hop.attempt, head});
  if (!context_.spec.deterministic) return;
  std::deque<net::Added>& lane = lanes_.at(lane_of(stage, head));
  SIDESTEP_ASSERT(lane.front() == added_[stage].back());
  lane.pop_front();
}

bool Pipeline::complete(std::uint32_t stage) const {
  const auto planned = to_add_.find(stage);
  return planned == to_add_.end() || added(stage).size() == planned->second;
}

const std::vector<net::Added>& Pipeline::added(std::uint32_t stage) const {
  static const std::vector<net::Added> none;
  const auto it = added_.find(stage);
  return it == added_.end() ? none : it->second;
}

std::string Pipeline::describe() const {
  std::size_t done = 0;
  std::size_t total = 0;
  for (const auto& [stage, count] : to_add_) {
    total += count;
    done += added(stage).size();
  }
  if (done < total)
    return (running_.empty() ? "" : running_ + "; ") + std::to_string(done) + " of " + std::to_string(total) +
           " gradients added, " + std::to_string(queue_.size()) + " tasks wait";
  return {};
}

void Pipeline::check_invariants() const {
  SIDESTEP_ASSERT(slots_taken_.size() <= slots());
  for (const auto& [stage, additions] : added_) {
    const auto planned = to_add_.find(stage);
    SIDESTEP_ASSERT(planned != to_add_.end() && additions.size() <= planned->second);
  }
}

}  // namespace sidestep::daemon

#include "daemon/solo/step_follower.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "daemon/solo/training_order.h"

namespace sidestep::daemon {

using net::Added;
using net::Hop;
using net::NodeKey;
using scheduler::RecordRecovery;
using scheduler::RecordReplica;
using scheduler::RecordRoute;
using scheduler::RecordStage;
using scheduler::RecordStep;

namespace {

// Microbatches in the stage's average: those that its replicas' backwards added.
std::int64_t visits(const RecordStage& stage) {
  std::int64_t count = 0;
  for (const RecordReplica& replica : stage.replicas) {
    count += std::ranges::count_if(replica.added, [](const Added& added) { return !added.head; });
  }
  return count;
}

// The attempt of each microbatch that was closed: its last.
std::map<std::uint32_t, const RecordRoute*> closed_routes(const std::vector<RecordRoute>& routes) {
  std::map<std::uint32_t, const RecordRoute*> closed;
  for (const RecordRoute& route : routes) {
    const RecordRoute*& known = closed[route.microbatch];
    if (known == nullptr || known->attempt < route.attempt) known = &route;
  }
  return closed;
}

// Summed by microbatch, as the lead origin sums it.
double mean_loss(const std::map<std::uint32_t, const RecordRoute*>& closed) {
  double sum = 0;
  for (const auto& [microbatch, route] : closed) sum += route->loss;
  return sum / static_cast<double>(closed.size());
}

}  // namespace

Status StepFollower::begin(const std::map<NodeKey, std::vector<std::uint32_t>>& stages_of) {
  stages_of_ = stages_of;
  for (const auto& [node, stages] : stages_of_) {
    runners_[node] = factory_();
    const bool origin = std::ranges::find(stages, 0u) != stages.end();
    const Result<Completion> ready = call(node, InitJob{job_, stages, origin});
    if (!ready.ok()) return ready.status();
    for (std::size_t i = 0; i < stages.size(); ++i)
      elements_[stages[i]] = ready.value().gradient_elements.at(i);
  }
  compute_us_ = 0;
  return {};
}

Result<RecordStep> StepFollower::run(const RecordStep& script) {
  RecordStep done = script;
  done.loss.reset();
  done.tokens = 0;
  for (auto part : {&StepFollower::evaluate, &StepFollower::train, &StepFollower::average}) {
    if (Status status = (this->*part)(done); !status.ok()) return status;
  }
  done.duration_us = std::exchange(compute_us_, 0);  // with the update of the step before

  const auto closed = closed_routes(done.routes);
  if (!closed.empty()) {
    done.loss = mean_loss(closed);
    done.tokens =
        closed.size() * static_cast<std::uint64_t>(job_.pipeline.microbatch_size * job_.data.sequence_length);
  }
  done.skipped_update =
      (done.loss && !std::isfinite(*done.loss)) ||
      std::ranges::any_of(done.stages, [](const RecordStage& stage) { return !std::isfinite(stage.norm); });
  return done;
}

Status StepFollower::commit(const RecordStep& script, bool update) {
  std::set<std::uint32_t> visited;
  for (const RecordStage& stage : script.stages) {
    if (visits(stage) > 0) visited.insert(stage.stage);
  }
  for (const auto& [node, stages] : stages_of_) {
    Update task{script.step, {}};
    for (const std::uint32_t stage : stages) {
      if (update && visited.contains(stage)) task.updated.push_back(stage);
    }
    const Result<Completion> done = call(node, task);
    if (!done.ok()) return done.status().with_context("step " + std::to_string(script.step));
  }
  return {};
}

Status StepFollower::end() {
  for (const auto& [node, stages] : stages_of_) {
    const Result<Completion> done = call(node, DropJob{});
    if (!done.ok()) return done.status();
  }
  return {};
}

Result<Completion> StepFollower::call(const NodeKey& node, const Task& task) {
  Completion done = runners_.at(node)->run(next_task_++, task);
  if (!done.fault.empty()) return Status(Code::internal, std::move(done.fault));
  compute_us_ += done.duration_us;
  return done;
}

// The head's completion.
Result<Completion> StepFollower::forward_and_head(std::uint64_t step, const RecordRoute& route,
                                                  bool evaluation, bool accumulate) {
  net::Tensor tensor;
  const std::uint32_t data = evaluation ? job_.validation_data(route.microbatch) : route.microbatch;
  for (const Hop& hop : route.hops) {
    Result<Completion> done =
        call(hop.node, Forward{hop.stage, step, data, evaluation, true, std::move(tensor)});
    if (!done.ok()) return done.status().with_context(place_name(step, hop, route.microbatch));
    tensor = std::move(done.value().tensor);
  }
  const Hop& origin = route.hops.front();
  Result<Completion> head = call(origin.node, Head{step, data, evaluation, accumulate, std::move(tensor)});
  if (!head.ok()) return head.status().with_context(place_name(step, origin, route.microbatch));
  return head;
}

Status StepFollower::evaluate(RecordStep& done) {
  for (RecordRoute& route : done.evaluations) {
    const bool known = std::ranges::all_of(route.hops, [&](const Hop& hop) {
      const auto held = stages_of_.find(hop.node);
      return held != stages_of_.end() && std::ranges::find(held->second, hop.stage) != held->second.end();
    });
    if (route.microbatch >= job_.evaluations_in(static_cast<std::int64_t>(done.step)))
      return Status::invalid("step " + std::to_string(done.step) + ", validation microbatch " +
                             std::to_string(route.microbatch) + ": the job has none of this number");
    if (!known || route.hops.empty() || route.hops.front().stage != 0) {
      return Status::invalid(
          "step " + std::to_string(done.step) + ", validation microbatch " +
          std::to_string(route.microbatch) +
          ": the route does not begin at stage 0 or names a node that does not hold its stage");
    }
    const Result<Completion> head = forward_and_head(done.step, route, true, false);
    if (!head.ok()) return head.status();
    route.loss = head.value().loss;
  }
  take_validation(job_, done);
  return {};
}

Status StepFollower::train(RecordStep& done) {
  const Result<std::vector<Move>> moves = order_moves(done, stages_of_);
  if (!moves.ok()) return moves.status();
  std::vector<net::Tensor> gradients(done.routes.size());
  for (const Move& move : moves.value()) {
    RecordRoute& route = done.routes[move.route];
    const Hop& hop = route.hops[move.hop];
    net::Tensor& gradient = gradients[move.route];
    switch (move.kind) {
      case Move::Kind::start: {
        Result<Completion> head = forward_and_head(done.step, route, false, move.accumulate);
        if (!head.ok()) return head.status();
        route.loss = head.value().loss;
        gradient = std::move(head.value().tensor);
        break;
      }
      case Move::Kind::backward: {
        Result<Completion> back = call(
            hop.node, Backward{hop.stage, done.step, route.microbatch, move.accumulate, std::move(gradient)});
        if (!back.ok()) return back.status().with_context(place_name(done.step, hop, route.microbatch));
        gradient = std::move(back.value().tensor);
        break;
      }
      case Move::Kind::forget: {
        const Result<Completion> forgot = call(hop.node, Forget{hop.stage, done.step, route.microbatch});
        if (!forgot.ok()) return forgot.status();
        break;
      }
    }
  }
  return {};
}

Status StepFollower::average(RecordStep& done) {
  for (RecordStage& stage : done.stages) {
    if (visits(stage) == 0) continue;
    if (Status status = average_stage(stage); !status.ok()) {
      return status.with_context("step " + std::to_string(done.step) + ", stage " +
                                 std::to_string(stage.stage));
    }
  }
  return {};
}

// The swarm cuts the sum into chunks; each element is the same sum in key order, so one chunk does here.
Status StepFollower::average_stage(RecordStage& stage) {
  const bool by_step = job_.gradient_scale == "step";
  const NodeKey& first = stage.replicas.front().node;
  Reduce reduce{stage.stage,
                0,
                elements_.at(stage.stage),
                {},
                1.0 / static_cast<double>(by_step ? job_.pipeline.microbatches_per_step : visits(stage)),
                stage.replicas.size() > 1};
  for (const RecordReplica& replica : stage.replicas) {
    net::Tensor& contribution = reduce.contributions.emplace_back();
    if (replica.node == first) continue;  // the accumulator where the sum is made
    Result<Completion> exposed = call(replica.node, ExposeGradient{stage.stage});
    if (!exposed.ok()) return exposed.status();
    contribution = std::move(exposed.value().tensor);
  }
  const Result<Completion> reduced = call(first, reduce);
  if (!reduced.ok()) return reduced.status();
  for (const RecordReplica& replica : stage.replicas) {
    if (replica.node != first) {
      const Result<Completion> stored =
          call(replica.node, StoreAverage{stage.stage, 0, reduced.value().tensor});
      if (!stored.ok()) return stored.status();
    }
    const Result<Completion> measured = call(replica.node, MeasureAverage{stage.stage});
    if (!measured.ok()) return measured.status();
    stage.norm = measured.value().norm;
    if (!measured.value().finite) stage.norm = std::nan("");
  }
  return {};
}

}  // namespace sidestep::daemon

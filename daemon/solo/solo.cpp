#include "daemon/solo/solo.h"

#include "daemon/solo/step_follower.h"

namespace sidestep::daemon {

using net::Hop;
using net::NodeKey;
using scheduler::JobSpec;
using scheduler::RecordRoute;
using scheduler::RecordStage;
using scheduler::RecordStep;

namespace {

const NodeKey only_node{};

RecordRoute straight_route(const JobSpec& job, std::uint32_t microbatch) {
  RecordRoute route{microbatch, 0, 0, {}};
  for (std::uint32_t stage = 0; stage < job.pipeline.stages; ++stage)
    route.hops.push_back({stage, only_node});
  return route;
}

// What the step would look like in the record of a swarm of one node that takes microbatches in order.
RecordStep script_of(const JobSpec& job, std::uint64_t number) {
  RecordStep step;
  step.step = number;
  const auto signed_number = static_cast<std::int64_t>(number);
  const bool trains = number > 0 && signed_number <= job.steps;
  const auto microbatches = static_cast<std::uint32_t>(trains ? job.pipeline.microbatches_per_step : 0);
  const auto evaluations = static_cast<std::uint32_t>(number > 0 ? job.evaluations_in(signed_number) : 0);
  for (std::uint32_t i = 0; i < microbatches; ++i) step.routes.push_back(straight_route(job, i));
  for (std::uint32_t i = 0; i < evaluations; ++i) step.evaluations.push_back(straight_route(job, i));
  for (std::uint32_t stage = 0; stage < job.pipeline.stages; ++stage) {
    RecordStage& entry = step.stages.emplace_back(RecordStage{stage, 0, 0, {{only_node, 1, {}}}});
    for (std::uint32_t i = 0; i < microbatches; ++i) {
      if (stage == 0) entry.replicas.front().added.push_back({i, 0, true});
      entry.replicas.front().added.push_back({i, 0, false});
    }
  }
  return step;
}

}  // namespace

Status run_solo(const JobSpec& job, const TaskRunnerFactory& factory, const StepObserver& on_step) {
  std::vector<std::uint32_t> stages;
  for (std::uint32_t stage = 0; stage < job.pipeline.stages; ++stage) stages.push_back(stage);
  StepFollower follower(job, factory);
  if (Status status = follower.begin({{only_node, stages}}); !status.ok()) return status;
  if (Status status = on_step(script_of(job, 0)); !status.ok()) return status;
  std::int64_t skipped = 0;  // in a row
  for (std::uint64_t number = 1; number <= static_cast<std::uint64_t>(job.final_step()); ++number) {
    const RecordStep script = script_of(job, number);
    const Result<RecordStep> done = follower.run(script);
    if (!done.ok()) return done.status();
    if (Status status = follower.commit(script, !done.value().skipped_update); !status.ok()) return status;
    if (Status status = on_step(done.value()); !status.ok()) return status;
    if (done.value().routes.empty()) continue;
    skipped = done.value().skipped_update ? skipped + 1 : 0;
    if (const std::int64_t most = job.optimizer.non_finite_max; most > 0 && skipped >= most)
      return Status::invalid(
          "steps " + std::to_string(number + 1 - static_cast<std::uint64_t>(skipped)) + " to " +
          std::to_string(number) +
          " made no update, their loss or gradient is not finite (optimizer.non_finite_max is " +
          std::to_string(most) + "); a lower optimizer.learning_rate may help");
  }
  return follower.end();
}

}  // namespace sidestep::daemon

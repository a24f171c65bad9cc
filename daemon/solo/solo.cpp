#include "daemon/solo/solo.h"

#include "daemon/solo/step_follower.h"
#include "scheduler/route_sets.h"

namespace sidestep::daemon {

using net::Hop;
using net::NodeKey;
using scheduler::JobSpec;
using scheduler::RecordRoute;
using scheduler::RecordStage;
using scheduler::RecordStep;

namespace {

const NodeKey only_node{};

RecordRoute route_through(const std::vector<std::uint32_t>& stages, std::uint32_t microbatch) {
  RecordRoute route{microbatch, 0, 0, {}};
  for (const std::uint32_t stage : stages) route.hops.push_back({stage, only_node});
  return route;
}

// What each step would look like in the record of a swarm of one node that takes microbatches in order.
class Script {
 public:
  explicit Script(const JobSpec& job) : job_(job), phases_(job.pipeline.phases()) {}

  // Errors: no routes keep the rules of the job.
  Status plan() {
    for (const scheduler::SkipPhase& phase : phases_) {
      auto sets = scheduler::training_sets(job_, phase.ratio);
      if (!sets.ok()) return sets.status();
      training_.push_back(std::move(sets).value());
    }
    evaluation_ = scheduler::evaluation_sets(job_);
    return {};
  }

  RecordStep step(std::uint64_t number) const {
    RecordStep step;
    step.step = number;
    const auto signed_number = static_cast<std::int64_t>(number);
    for (std::uint32_t stage = 0; stage < job_.pipeline.stages; ++stage)
      step.stages.push_back(RecordStage{stage, 0, 0, {{only_node, 1, {}}}});
    if (number == 0) return step;
    const auto evaluations = static_cast<std::size_t>(job_.evaluations_in(signed_number));
    for (std::uint32_t i = 0; i < evaluations; ++i)
      step.evaluations.push_back(route_through(evaluation_[i], i));
    if (signed_number > job_.steps) return step;
    const scheduler::StageSets& sets = training_[phase_of(signed_number)];
    for (std::uint32_t i = 0; i < sets.size(); ++i) {
      step.routes.push_back(route_through(sets[i], i));
      step.stages[0].replicas.front().added.push_back({i, 0, true});
      for (const std::uint32_t stage : sets[i])
        step.stages[stage].replicas.front().added.push_back({i, 0, false});
    }
    return step;
  }

 private:
  std::size_t phase_of(std::int64_t step) const {
    std::size_t phase = 0;
    while (phase + 1 < phases_.size() && phases_[phase + 1].from_step <= step) ++phase;
    return phase;
  }

  const JobSpec& job_;
  std::vector<scheduler::SkipPhase> phases_;
  std::vector<scheduler::StageSets> training_;  // by phase
  scheduler::StageSets evaluation_;
};

}  // namespace

Status run_solo(const JobSpec& job, const TaskRunnerFactory& factory, const StepObserver& on_step) {
  std::vector<std::uint32_t> stages;
  for (std::uint32_t stage = 0; stage < job.pipeline.stages; ++stage) stages.push_back(stage);
  Script scripts(job);
  if (Status status = scripts.plan(); !status.ok()) return status;
  StepFollower follower(job, factory);
  if (Status status = follower.begin({{only_node, stages}}); !status.ok()) return status;
  if (Status status = on_step(scripts.step(0)); !status.ok()) return status;
  std::int64_t skipped = 0;  // in a row
  for (std::uint64_t number = 1; number <= static_cast<std::uint64_t>(job.final_step()); ++number) {
    const RecordStep script = scripts.step(number);
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

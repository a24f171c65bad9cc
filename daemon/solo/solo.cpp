#include "daemon/solo/solo.h"

#include <map>
#include <utility>

#include "daemon/solo/scripted_losses.h"
#include "daemon/solo/step_follower.h"
#include "scheduler/plan.h"
#include "scheduler/route_sets.h"
#include "scheduler/twin_stages.h"

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

  // The first commit, and then each step without losses, can be had. Errors: no routes keep the rules of the
  // job.
  Status plan() {
    for (std::size_t phase = 0; phase < phases_.size(); ++phase)
      if (auto sets = sets_of(phase, {}); !sets.ok()) return sets.status();
    return {};
  }

  // Errors: no routes keep the rules of the job over the stages that are left.
  Result<RecordStep> step(const Boundary& boundary) {
    RecordStep step;
    step.step = boundary.step;
    step.recoveries = boundary.recoveries;
    const auto number = static_cast<std::int64_t>(boundary.step);
    const bool begins = boundary.step == job_.first_commit();  // the weights are there, and no more
    std::map<std::uint32_t, std::vector<net::Added>> added;
    if (!begins) {
      const auto evaluations = static_cast<std::size_t>(job_.evaluations_in(number));
      const scheduler::StageSets evaluated =
          evaluations > 0 ? scheduler::evaluation_sets(job_, flags(boundary.out)) : scheduler::StageSets();
      for (std::uint32_t i = 0; i < evaluations; ++i)
        step.evaluations.push_back(route_through(evaluated[i], i));
    }
    if (!begins && number <= job_.steps) {
      const auto sets = sets_of(phase_of(number), boundary.out);
      if (!sets.ok()) return sets.status();
      for (std::uint32_t i = 0; i < sets.value()->size(); ++i) {
        step.routes.push_back(route_through((*sets.value())[i], i));
        added[0].push_back({i, 0, true});
        for (const std::uint32_t stage : (*sets.value())[i]) added[stage].push_back({i, 0, false});
      }
    }
    for (std::uint32_t stage = 0; stage < static_cast<std::uint32_t>(job_.pipeline.stages); ++stage)
      if (!scheduler::has_stage(boundary.out, stage))
        step.stages.push_back(RecordStage{stage, 0, 0, {{only_node, 1, std::move(added[stage])}}});
    return step;
  }

 private:
  std::vector<char> flags(const std::vector<std::uint32_t>& out) const {
    std::vector<char> by_stage(static_cast<std::size_t>(job_.pipeline.stages), 0);
    for (const std::uint32_t stage : out) by_stage[stage] = 1;
    return by_stage;
  }

  std::size_t phase_of(std::int64_t step) const {
    std::size_t phase = 0;
    while (phase + 1 < phases_.size() && phases_[phase + 1].from_step <= step) ++phase;
    return phase;
  }

  // In the order in which routes visit them.
  Result<const scheduler::StageSets*> sets_of(std::size_t phase, const std::vector<std::uint32_t>& out) {
    const auto [known, is_new] = training_.try_emplace({phase, out});
    if (is_new) {
      auto sets = scheduler::training_sets(job_, phases_[phase].ratio, flags(out));
      if (!sets.ok()) return sets.status();
      known->second = std::move(sets).value();
      if (job_.recovery.policy == "checkfree+")
        for (std::uint32_t i = 0; i < known->second.size(); ++i)
          known->second[i] = scheduler::in_twin_order(std::move(known->second[i]), i,
                                                      static_cast<std::uint32_t>(job_.pipeline.stages));
    }
    return &known->second;
  }

  const JobSpec& job_;
  std::vector<scheduler::SkipPhase> phases_;
  std::map<std::pair<std::size_t, std::vector<std::uint32_t>>, scheduler::StageSets>
      training_;  // by phase and stages out
};

}  // namespace

Status run_solo(const JobSpec& job, const TaskRunnerFactory& factory, const StepObserver& on_step) {
  std::vector<std::uint32_t> stages;
  for (std::uint32_t stage = 0; stage < job.pipeline.stages; ++stage) stages.push_back(stage);
  Script scripts(job);
  if (Status status = scripts.plan(); !status.ok()) return status;
  StepFollower follower(job, factory);
  if (Status status = follower.begin({{only_node, stages}}); !status.ok()) return status;
  Boundary first;
  first.step = job.first_commit();
  if (Status status = on_step(scripts.step(first).value()); !status.ok()) return status;
  ScriptedLosses losses(job, follower, only_node);
  std::int64_t skipped = 0;  // in a row
  for (std::uint64_t number = first.step + 1; number <= static_cast<std::uint64_t>(job.final_step());
       ++number) {
    const Result<Boundary> boundary = losses.before(number);
    if (!boundary.ok()) return boundary.status();
    number = boundary.value().step;
    const Result<RecordStep> script = scripts.step(boundary.value());
    if (!script.ok()) return script.status().with_context("step " + std::to_string(number));
    if (Status status = follower.take_places(script.value()); !status.ok()) return status;
    const Result<RecordStep> done = follower.run(script.value());
    if (!done.ok()) return done.status();
    if (Status status = follower.commit(script.value(), !done.value().skipped_update); !status.ok())
      return status;
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

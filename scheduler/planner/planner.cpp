#include "scheduler/planner/planner.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "net/assert.h"
#include "scheduler/planner/baselines.h"
#include "scheduler/planner/construct.h"
#include "scheduler/planner/dispatch.h"
#include "scheduler/planner/draft.h"
#include "scheduler/planner/evaluator.h"
#include "scheduler/planner/lanes.h"
#include "scheduler/planner/pods.h"
#include "scheduler/planner/rules.h"
#include "scheduler/planner/step_engine.h"

namespace sidestep::scheduler {
namespace {

constexpr std::array<std::pair<PlanMethod, std::string_view>, 5> method_names{
    {{PlanMethod::full, "full"},
     {PlanMethod::dtfm, "dtfm"},
     {PlanMethod::random_skip, "random-skip"},
     {PlanMethod::no_collision, "no-collision"},
     {PlanMethod::sidestep, "sidestep"}}};

// What it costs each node to begin to hold each stage: the transfer of its weights from the nearest node that
// has them, spread over the steps. Where the instance does not say how many bytes they are, a microbatch's
// transfer stands for them.
std::vector<std::int64_t> moving_costs(const Instance& instance, const PathPlan& start,
                                       double horizon_steps) {
  std::vector<std::int64_t> costs(instance.node_count() * instance.stages, 0);
  for (std::uint32_t stage = 0; stage < instance.stages; ++stage) {
    std::vector<std::size_t> sources;
    for (std::size_t n = 0; n < start.stage_of.size(); ++n)
      if (std::binary_search(start.stage_of[n].begin(), start.stage_of[n].end(), stage)) sources.push_back(n);
    for (std::size_t n = 0; n < instance.node_count() && !sources.empty(); ++n) {
      double least_us = std::numeric_limits<double>::infinity();
      for (const std::size_t source : sources) {
        const std::size_t link = source * instance.node_count() + n;
        double us = 0;
        if (source != n && instance.transfer_us[link] == Instance::no_link)
          us = static_cast<double>(Instance::time_us_max);
        else if (source != n && instance.counts_averaging())
          us = static_cast<double>(instance.latency_us[link]) +
               static_cast<double>(instance.stage_bytes[stage]) / instance.bandwidth[link] * 1e6;
        else if (source != n)
          us = instance.transfer_us[link];
        least_us = std::min(least_us, us);
      }
      costs[n * instance.stages + stage] =
          std::llround(std::min(least_us / std::max(horizon_steps, 1.0), 1e12));
    }
  }
  return costs;
}

// Routes in ascending order, but for as many as the share of swaps asks for: where every node holds one stage
// and none swaps, no ring of slots can form.
void straighten(const Instance& instance, Draft& draft) {
  const std::vector<SwapPair> pairs = swap_pairs(instance);
  std::vector<std::uint32_t> missing(pairs.size(), swaps_needed(instance));
  for (std::size_t r = 0; r < draft.rows; ++r) {
    PathHop* const hops = draft.row(r);
    const auto at = [&](std::uint32_t stage) {
      return std::find_if(hops, hops + draft.length, [&](const PathHop& hop) { return hop.stage == stage; });
    };
    bool stays = false;
    for (std::size_t p = 0; p < pairs.size(); ++p)
      if (missing[p] > 0 && at(pairs[p].low) != hops + draft.length && at(pairs[p].high) < at(pairs[p].low)) {
        --missing[p];
        stays = true;
      }
    if (!stays)
      std::sort(hops, hops + draft.length,
                [](const PathHop& a, const PathHop& b) { return a.stage < b.stage; });
  }
}

class Planning {
 public:
  Planning(const Instance& instance, const PlanOptions& options, const PlanMachine& machine)
      : instance_(for_method(instance, options.method)),
        options_(options),
        machine_(machine),
        budget_(options, machine),
        lanes_(options.work > 0
                   ? options.lanes
                   : std::min<std::size_t>(options.lanes, std::max<std::size_t>(machine.threads, 1))) {
    // The placement of the start holds; routes are free.
    if (options.keep_placement && options.start) instance_.stage_of = options.start->stage_of;
  }

  Result<PlanResult> run() {
    if (Status status = check_feasible(instance_); !status.ok()) return status;
    instance_ = without_drained_stages(instance_);
    Result<LaneResult> found = search();
    if (!found.ok()) return found.status();
    PlanResult result;
    result.plan = found.value().best.plan(instance_);
    result.evaluations = found.value().evaluations;
    result.first_us = first_us_;
    const Evaluation evaluation = evaluate(instance_, result.plan);
    if (!evaluation.finishes)
      return Status::refused(
          "no plan was found in which microbatches do not wait for each other's slots for ever: "
          "add slots, or lower max_swaps");
    for (const BrokenRule& rule : evaluation.broken)
      return Status::refused((rule.rule == "transfer_s"
                                  ? "no plan was found that needs no missing link: "
                                  : "no plan was found that keeps " + rule.rule + ": ") +
                             rule.text);
    result.makespan_us = evaluation.makespan_us;
    result.step_us = evaluation.step_us;
    for (std::size_t n = 0; n < result.plan.stage_of.size() && !moving_us_.empty(); ++n)
      for (const std::uint32_t stage : result.plan.stage_of[n])
        result.moving_us += moving_us_[n * instance_.stages + stage];
    return result;
  }

 private:
  Result<LaneResult> search() {
    SearchOptions own;
    own.seed = options_.seed;
    own.keep_placement = options_.keep_placement || instance_.placement_fixed();
    switch (options_.method) {
      case PlanMethod::random_skip:
        return done(plan_random_skip(instance_, options_.seed));
      case PlanMethod::dtfm:
        return done(plan_dtfm(instance_, options_.seed, budget_));
      case PlanMethod::no_collision:
        own.ignore_waiting = true;
        return improve(own);
      case PlanMethod::full:
      case PlanMethod::sidestep:
        return improve(own);
    }
    SIDESTEP_ASSERT(false);
    return Status::refused("no such method");
  }

  static Result<LaneResult> done(Result<Draft> draft) {
    if (!draft.ok()) return draft.status();
    LaneResult result;
    result.best = std::move(draft).value();
    result.evaluations = 1;
    return result;
  }

  // The step time of a draft that ends and keeps every rule, else `never`.
  std::int64_t worth(const Draft& draft) const {
    const Evaluation evaluation = evaluate(instance_, draft.plan(instance_));
    return evaluation.finishes && evaluation.broken.empty() ? evaluation.step_us : StepEngine::never;
  }

  Result<LaneResult> improve(SearchOptions own) {
    BudgetShare share;
    Temperatures temperatures;
    std::vector<Draft> firsts;  // the best first
    if (options_.start) {
      // Near what was: as hot as a good plan bears without being forgotten.
      temperatures.hot /= 4;
      own.moving_us = moving_us_ = moving_costs(instance_, *options_.start, options_.horizon_steps);
      const Result<PathPlan> repaired = repair(instance_, instance_, *options_.start);
      if (repaired.ok()) firsts = {draft_of(instance_, repaired.value())};
    }
    if (firsts.empty() || worth(firsts.front()) == StepEngine::never) {
      Result<std::vector<Draft>> constructed = construct_each(instance_);
      if (!constructed.ok()) return constructed.status();
      firsts = std::move(constructed).value();
    }
    const std::int64_t began_us = step_us(instance_, firsts.front());
    first_us_ = began_us == StepEngine::never ? 0 : began_us;
    // A search has no time to put right what a change has done to a large plan.
    constexpr std::size_t many_hops = 5'000;
    if (options_.start && !own.ignore_waiting && firsts.front().hops.size() > many_hops)
      firsts = {dispatched_again(instance_, firsts.front())};
    LaneResult result;
    if (!options_.start && !own.keep_placement && !own.ignore_waiting && wants_pods(instance_)) {
      constexpr double middle = 0.8;
      Result<LaneResult> pods = plan_in_pods(instance_, own, lanes_, budget_, {0, middle}, machine_);
      if (pods.ok()) {
        result.evaluations += pods.value().evaluations;
        share.begin = middle;
        if (worth(pods.value().best) < worth(firsts.front())) {
          firsts = {std::move(pods.value().best)};
          temperatures.hot /= 8;
        }
      }
    }
    LaneResult found = run_lanes(instance_, firsts, own, lanes_, temperatures, budget_, share, machine_);
    found.evaluations += result.evaluations;
    // A search weighs one cost against another; what keeps the rules is never given up for what does not.
    if (!own.ignore_waiting && worth(found.best) == StepEngine::never) found.best = firsts.front();
    if (own.ignore_waiting && !evaluate(instance_, found.best.plan(instance_)).finishes)
      straighten(instance_, found.best);
    return found;
  }

  Instance instance_;
  const PlanOptions& options_;
  const PlanMachine& machine_;
  const Budget budget_;
  const std::size_t lanes_;
  std::vector<std::int64_t> moving_us_;
  std::int64_t first_us_ = 0;
};

}  // namespace

std::string_view to_string(PlanMethod method) {
  for (const auto& [one, name] : method_names)
    if (one == method) return name;
  SIDESTEP_ASSERT(false);
  return {};
}

std::optional<PlanMethod> plan_method(std::string_view name) {
  for (const auto& [method, one] : method_names)
    if (one == name) return method;
  return std::nullopt;
}

PlanMachine plain_machine() {
  return {[](std::size_t count, const std::function<void(std::size_t)>& job) {
            for (std::size_t i = 0; i < count; ++i) job(i);
          },
          {}};
}

Instance for_method(const Instance& instance, PlanMethod method) {
  Instance result = instance;
  if (method != PlanMethod::full && method != PlanMethod::dtfm) return result;
  result.stages_per_path = result.live_stages();
  result.max_swaps = 0;
  result.min_swap_share = 0;
  result.max_skip = result.stages;
  for (std::uint32_t stage = 0; stage < result.stages; ++stage)
    result.min_visits[stage] = result.max_visits[stage] =
        result.stage_out[stage] != 0 ? 0 : result.microbatches;
  if (method == PlanMethod::dtfm) {
    result.microbatches_per_origin = 0;
    if (!result.placement_fixed()) result.stage_sizes.clear();
  }
  return result;
}

Result<PlanResult> make_plan(const Instance& instance, const PlanOptions& options,
                             const PlanMachine& machine) {
  SIDESTEP_ASSERT(options.work > 0 || options.budget_us > 0);
  SIDESTEP_ASSERT(options.lanes > 0);
  return Planning(instance, options, machine).run();
}

}  // namespace sidestep::scheduler

#include "scheduler/route_sets.h"

#include <algorithm>

#include "net/assert.h"
#include "scheduler/planner/rules.h"
#include "scheduler/planner/visit_share.h"
#include "scheduler/planner/wan.h"

namespace sidestep::scheduler {
namespace {

// No nodes: nothing but the rules of routes.
Instance bare_instance(const JobSpec& job, double skip_ratio, std::int64_t microbatches) {
  Instance instance;
  instance.stages = static_cast<std::uint32_t>(job.pipeline.stages);
  instance.stages_per_path = stages_per_path(instance.stages, skip_ratio);
  instance.microbatches = static_cast<std::uint32_t>(microbatches);
  instance.stage_out.assign(instance.stages, 0);
  free_visits(instance);
  return instance;
}

}  // namespace

void go_around(const JobSpec& job, Instance& instance) {
  share_visits(instance, job.pipeline.weights(), static_cast<std::uint32_t>(job.pipeline.visit_slack));
  // Short routes pass both stages of a pair of checkfree+ less often.
  for (const double share : {instance.min_swap_share / 2, 0.0})
    if (instance.min_swap_share > 0 && !choose_stage_sets(instance).ok()) instance.min_swap_share = share;
  const bool is_whole = std::ranges::all_of(instance.stage_out, [](char out) { return out == 0; });
  if (is_whole || choose_stage_sets(instance).ok()) return;
  free_visits(instance);
  if (choose_stage_sets(instance).ok()) return;
  instance.max_skip = instance.stages;
}

Result<StageSets> training_sets(const JobSpec& job, double skip_ratio, const std::vector<char>& out) {
  Instance instance = bare_instance(job, skip_ratio, job.pipeline.microbatches_per_step);
  if (job.pipeline.max_skip) instance.max_skip = static_cast<std::uint32_t>(*job.pipeline.max_skip);
  if (!out.empty()) instance.stage_out = out;
  go_around(job, instance);
  return choose_stage_sets(instance);
}

StageSets evaluation_sets(const JobSpec& job, const std::vector<char>& out) {
  std::vector<double> ratios{0};
  ratios.insert(ratios.end(), job.validation.skip.begin(), job.validation.skip.end());
  StageSets all;
  for (const double ratio : ratios) {
    Instance instance = bare_instance(job, ratio, job.validation.microbatches);
    if (!out.empty()) {
      instance.stage_out = out;
      free_visits(instance);
    }
    const Result<StageSets> sets = choose_stage_sets(instance);
    SIDESTEP_ASSERT(sets.ok());  // visits are free
    all.insert(all.end(), sets.value().begin(), sets.value().end());
  }
  return all;
}

}  // namespace sidestep::scheduler

// The block `pipeline` of a job: how the layers are cut, what a step is made of, and what routes may do
// (design.md, Words: route, skip ratio, swap). Values.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "scheduler/options.h"

namespace sidestep::scheduler {

// From this step on routes leave out this share of the stages.
struct SkipPhase {
  std::int64_t from_step = 1;
  double ratio = 0;
  bool operator==(const SkipPhase&) const = default;
};

struct PipelineSpec {
  static constexpr double skip_ratio_max = 0.99;

  std::int64_t stages = 1;
  bool stage_0_layers = true;  // false: stage 0 holds embedding, norm and head only
  std::int64_t microbatches_per_step = 1;
  std::int64_t microbatch_size = 1;  // sequences
  std::int64_t slots = 3;
  std::vector<SkipPhase> skip{{1, 0}};  // ascending steps, the first is 1
  std::int64_t warmup_steps = 0;        // whose routes leave out nothing, whatever `skip` says
  std::int64_t max_swaps = 0;           // a route
  std::int64_t max_swap_distance = 1;
  std::optional<std::int64_t> max_skip;  // none: no limit
  std::string visit_share = "even";      // "even", "depth", "list"
  std::vector<double> visit_weights;     // by stage, of a list
  std::int64_t visit_slack = 1;          // visits around each stage's share
  // Who holds what and which way each microbatch goes, as in a plan file (planner/path_plan.h), nodes by
  // nickname; null: the scheduler plans. Judged when the nodes are known.
  nlohmann::json plan;

  // The skip ratios in force, warm-up included: ascending steps, the first is 1, neighbours differ.
  std::vector<SkipPhase> phases() const;
  // One weight a stage, as visit_share.h takes them.
  std::vector<double> weights() const;
};

void add_pipeline_keys(OptionTable& table, PipelineSpec& pipeline);
// How the fields fit together; each check waits for its own fields to be right alone.
void check_pipeline(const PipelineSpec& pipeline, std::int64_t steps, Problems& problems);

}  // namespace sidestep::scheduler

#include "scheduler/pipeline_spec.h"

#include <algorithm>

#include "net/assert.h"
#include "scheduler/planner/visit_share.h"

namespace sidestep::scheduler {
namespace {

constexpr std::int64_t steps_max = 100'000'000;

nlohmann::json skip_to_json(const std::vector<SkipPhase>& skip) {
  if (skip.size() == 1) return skip.front().ratio;
  nlohmann::json list = nlohmann::json::array();
  for (const SkipPhase& phase : skip) list.push_back({phase.from_step, phase.ratio});
  return list;
}

std::string wrong_ratio(const nlohmann::json& value) {
  if (!value.is_number()) return "must be a number, or a list of [step, number], found " + describe(value);
  const auto ratio = value.get<double>();
  if (ratio >= 0 && ratio <= PipelineSpec::skip_ratio_max) return {};
  return "value " + value.dump() +
         (ratio < 0 ? " is too small, at least 0 allowed" : " is too large, at most 0.99 allowed");
}

// Why the value cannot be taken; empty if it was.
std::string read_skip(const nlohmann::json& value, std::vector<SkipPhase>& skip) {
  if (!value.is_array()) {
    if (std::string why = wrong_ratio(value); !why.empty()) return why;
    skip = {{1, value.get<double>()}};
    return {};
  }
  std::vector<SkipPhase> phases;
  for (const nlohmann::json& entry : value) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_number_integer() || !entry[1].is_number())
      return "each entry must be [step, ratio], found " + describe(entry);
    if (std::string why = wrong_ratio(entry[1]); !why.empty()) return why;
    const auto step = entry[0].get<double>();
    if (phases.empty() && step != 1) return "the first entry must be for step 1, found " + entry[0].dump();
    if (step > static_cast<double>(steps_max) ||
        (!phases.empty() && step <= static_cast<double>(phases.back().from_step)))
      return "steps must rise, found " + entry[0].dump() + " after " +
             std::to_string(phases.back().from_step);
    phases.push_back({entry[0].get<std::int64_t>(), entry[1].get<double>()});
  }
  if (phases.empty()) return "must not be empty";
  skip = std::move(phases);
  return {};
}

std::string read_share(const nlohmann::json& value, PipelineSpec& pipeline) {
  if (value == "even" || value == "depth") {
    pipeline.visit_share = value.get<std::string>();
    pipeline.visit_weights.clear();
    return {};
  }
  if (!value.is_array())
    return "must be \"even\", \"depth\" or a list of numbers, one a stage, found " + describe(value);
  std::vector<double> weights;
  for (const nlohmann::json& entry : value) {
    if (!entry.is_number() || entry.get<double>() < 0 || entry.get<double>() > 1e6)
      return "each entry must be a number from 0 to 1000000, found " + describe(entry);
    weights.push_back(entry.get<double>());
  }
  pipeline.visit_share = "list";
  pipeline.visit_weights = std::move(weights);
  return {};
}

}  // namespace

std::vector<SkipPhase> PipelineSpec::phases() const {
  SIDESTEP_ASSERT(!skip.empty() && skip.front().from_step == 1);
  std::vector<SkipPhase> result;
  const auto add = [&](std::int64_t from_step, double ratio) {
    if (result.empty() || result.back().ratio != ratio) result.push_back({from_step, ratio});
  };
  if (warmup_steps > 0) add(1, 0);
  for (std::size_t i = 0; i < skip.size(); ++i) {
    const bool over = i + 1 < skip.size() && skip[i + 1].from_step <= warmup_steps + 1;
    if (!over) add(std::max(skip[i].from_step, warmup_steps + 1), skip[i].ratio);
  }
  return result;
}

std::vector<double> PipelineSpec::weights() const {
  const auto count = static_cast<std::uint32_t>(stages);
  if (visit_share == "list") return visit_weights;
  return visit_share == "depth" ? depth_weights(count) : even_weights(count);
}

void add_pipeline_keys(OptionTable& table, PipelineSpec& pipeline) {
  table.add("pipeline.stages", pipeline.stages, "parts that the layers are cut into")
      .required()
      .range(1, 1'024);
  table.add("pipeline.stage_0_layers", pipeline.stage_0_layers,
            "false: stage 0 holds embedding, final norm and head only");
  table.add("pipeline.microbatches_per_step", pipeline.microbatches_per_step, "microbatches of one update")
      .required()
      .range(1, 65'536);
  table.add("pipeline.microbatch_size", pipeline.microbatch_size, "sequences in a microbatch")
      .range(1, 65'536);
  table.add("pipeline.slots", pipeline.slots, "microbatches whose activations a node keeps at a time")
      .range(1, 1'024);
  table.add_own("pipeline.skip_ratio",
                {"a number from 0 to 0.99, or a list of [step, number]",
                 [&pipeline] { return skip_to_json(pipeline.skip); },
                 [&pipeline](const nlohmann::json& value) { return read_skip(value, pipeline.skip); }},
                "share of the stages that a route leaves out; a list: from each step on another one");
  table.add("pipeline.warmup_steps", pipeline.warmup_steps, "steps before routes leave stages out")
      .range(0, static_cast<double>(steps_max));
  table.add("pipeline.max_swaps", pipeline.max_swaps, "hops back to a lower stage, a route").range(0, 1'023);
  table.add("pipeline.max_swap_distance", pipeline.max_swap_distance, "how far back a swap may go")
      .range(1, 1'023);
  table.add_own(
      "pipeline.max_skip",
      {"a whole number from 1 to 1023, or null",
       [&pipeline] { return pipeline.max_skip ? nlohmann::json(*pipeline.max_skip) : nlohmann::json(); },
       [&pipeline](const nlohmann::json& value) -> std::string {
         if (!value.is_null() && (!value.is_number_integer() || value < 1 || value > 1'023))
           return "must be a whole number from 1 to 1023, or null, found " + describe(value);
         pipeline.max_skip = value.is_null() ? std::nullopt : std::optional(value.get<std::int64_t>());
         return {};
       }},
      "how far past the furthest stage so far a hop may jump; null: no limit");
  table.add_own("pipeline.visit_share",
                {"\"even\", \"depth\", or a list of numbers, one a stage",
                 [&pipeline]() -> nlohmann::json {
                   if (pipeline.visit_share == "list") return pipeline.visit_weights;
                   return pipeline.visit_share;
                 },
                 [&pipeline](const nlohmann::json& value) { return read_share(value, pipeline); }},
                "how visits spread over the stages past 0: alike, late stages less often, or in proportion");
  table
      .add("pipeline.visit_slack", pipeline.visit_slack,
           "visits a step that a stage may have more or less than its share")
      .range(0, 65'536);
  table.add_own("pipeline.plan",
                {"null, or a plan as `sidestep plan --out` writes it, nodes by nickname",
                 [&pipeline] { return pipeline.plan; },
                 [&pipeline](const nlohmann::json& value) -> std::string {
                   if (!value.is_null() && !value.is_object())
                     return "must be a plan or null, found " + describe(value);
                   pipeline.plan = value;
                   return {};
                 }},
                "who holds which stage and which way each microbatch goes; null: the scheduler plans");
}

void check_pipeline(const PipelineSpec& pipeline, std::int64_t steps, Problems& problems) {
  if (problems.sound({"steps", "pipeline.warmup_steps"}) && pipeline.warmup_steps > steps)
    problems.add_key("pipeline.warmup_steps", "value " + std::to_string(pipeline.warmup_steps) +
                                                  " is more than steps, " + std::to_string(steps));
  if (problems.sound({"pipeline.plan", "pipeline.skip_ratio", "pipeline.warmup_steps"}) &&
      !pipeline.plan.is_null() && pipeline.phases().size() > 1)
    problems.add_key("pipeline.plan", "is for one skip ratio, and this job has " +
                                          std::to_string(pipeline.phases().size()) + " one after the other");
  if (!problems.sound({"pipeline.stages", "pipeline.visit_share"}) || pipeline.visit_share != "list") return;
  if (pipeline.visit_weights.size() != static_cast<std::size_t>(pipeline.stages))
    problems.add_key("pipeline.visit_share", "has " + std::to_string(pipeline.visit_weights.size()) +
                                                 " numbers for " + std::to_string(pipeline.stages) +
                                                 " stages");
}

}  // namespace sidestep::scheduler

#include "scheduler/planner/instance_fields.h"

#include "scheduler/planner/instance.h"

namespace sidestep::scheduler {
namespace {

constexpr std::int64_t seconds_max = Instance::time_us_max / 1'000'000;
constexpr std::int64_t nodes_max = Instance::nodes_max;
constexpr std::int64_t stages_max = Instance::stages_max;
constexpr std::int64_t microbatches_max = Instance::microbatches_max;
// So that no sum of times, of bytes or of bytes over bandwidth leaves 64 bits.
constexpr std::int64_t bytes_max = 100'000'000'000'000;
constexpr std::int64_t bandwidth_min = 1'000;

constexpr Field instance_table[] = {
    {"name", "text", 0, 0, "empty", "shown in reports"},
    {"note", "anything", 0, 0, "", "for people; ignored"},
    {"stages", "whole number", 1, stages_max, "required", "stages of the model"},
    {"stages_per_path", "whole number", 1, stages_max, "`stages`",
     "stages that each route visits, stage 0 included; all live stages where there are fewer"},
    {"stage_sizes", "list of one whole number per stage", 0, nodes_max, "free",
     "nodes of each stage; 0 for a stage that is out, and only for that"},
    {"max_swaps", "whole number", 0, stages_max, "0", "hops of a route to a stage below the furthest so far"},
    {"max_swap_distance", "whole number of stages", 1, stages_max, "1", "how far back such a hop goes"},
    {"max_skip", "whole number of stages", 1, stages_max, "no limit",
     "how far past the furthest stage so far a hop goes"},
    {"microbatches_per_origin", "whole number", 1, microbatches_max, "",
     "each origin starts exactly this many; needs `stage_sizes` or `stage_of`, for how many origins there "
     "are"},
    {"microbatches_per_step", "whole number", 1, microbatches_max, "",
     "dealt out to origins by the planner; either this or `microbatches_per_origin`"},
    {"min_visits_per_stage", "whole number for all stages but 0, or list of one per stage", 0,
     microbatches_max, "no limit",
     "visits that a stage needs in a step; stage 0 is visited by all microbatches"},
    {"max_visits_per_stage", "whole number for all stages but 0, or list of one per stage", 0,
     microbatches_max, "no limit", "visits that a stage may have in a step"},
    {"visit_share", "`\"even\"`, `\"depth\"`, or list of one weight per stage", 0, 1'000'000, "no limit",
     "in place of the two above: how visits spread over the live stages (see below)"},
    {"visit_slack", "whole number of visits", 0, microbatches_max, "0",
     "how far a stage may be from its share"},
    {"min_swap_share", "share of the microbatches", 0, 1, "0",
     "that visit stages (1, 2), and the last two, in each of both orders; without effect below 5 stages"},
    {"stages_out", "list of stages", 0, stages_max - 1, "none", "lost or rebuilding: nobody holds them"},
    {"stage_of", "object: node's id to stage, or to list of stages", 0, stages_max - 1, "free",
     "fixes the placement; nodes that are not named hold nothing"},
    {"task_gap_s", "seconds", 0, seconds_max, "0", "a node is busy this much longer after each task"},
    {"nodes", "list of objects", 1, nodes_max, "required", "the machines"},
    {"transfer_s", "matrix of seconds, from row to column", 0, seconds_max, "required",
     "to send one microbatch's activations; `null`: these two cannot reach each other. The diagonal does not "
     "count"},
    {"stage_bytes", "bytes, for all stages or list of one per stage", 0, bytes_max,
     "averaging is not counted", "what a stage's nodes average after each step; needs the next two"},
    {"latency_s", "matrix of seconds", 0, seconds_max, "",
     "one way; `null` and the diagonal as in `transfer_s`"},
    {"bandwidth_bytes_per_s", "matrix of bytes a second", bandwidth_min, bytes_max, "",
     "`null` and the diagonal as in `transfer_s`"},
    {"stage_memory_bytes", "bytes, for all stages or list of one per stage", 0, bytes_max, "",
     "what holding a stage takes of a node's `memory_bytes`; needs the next one"},
    {"slot_memory_bytes", "bytes, for all stages or list of one per stage", 0, bytes_max, "",
     "what each slot of it takes"},
    {"published_stage_of", "anything", 0, 0, "", "for people; ignored"},
    {"published_predictions_s", "anything", 0, 0, "", "for people; ignored"},
};

constexpr Field node_table[] = {
    {"id", "text, or whole number", 0, 0, "required", "its name in plans; each only once"},
    {"location", "text", 0, 0, "empty", "for people"},
    {"forward_s", "seconds, for all stages or list of one per stage", 0, seconds_max, "required",
     "one microbatch's forward; less than a microsecond counts as one"},
    {"backward_s", "seconds, for all stages or list of one per stage", 0, seconds_max, "required",
     "the same, backward"},
    {"head_s", "seconds", 0, seconds_max, "required", "norm, head and loss, where it is an origin"},
    {"slots", "whole number", 1, microbatches_max, "1",
     "microbatches whose activations it can keep at a time; memory may allow fewer"},
    {"memory_bytes", "bytes", 0, bytes_max, "0: only `slots` counts",
     "for stages and slots; needs `stage_memory_bytes`"},
    {"max_stages", "whole number", 1, stages_max, "1", "that it may hold when the placement is free"},
    {"can_be_origin", "true or false", 0, 0, "true", "has the job's data, so that it may hold stage 0"},
    {"draining", "true or false", 0, 0, "false", "keeps its stage, but no route may visit it"},
};

}  // namespace

std::span<const Field> instance_fields() { return instance_table; }
std::span<const Field> instance_node_fields() { return node_table; }

std::string instance_keys_markdown() {
  return "| key | value | default | |\n|---|---|---|---|\n" + markdown_rows(instance_table, "") +
         markdown_rows(node_table, "nodes[].");
}

}  // namespace sidestep::scheduler

// Instances out of a link table (configs/instances/wan.json) and a job: what `sidestep plan --from-wan`
// plans, and what the planner is measured on. Pure; deterministic for the seed.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "net/status.h"
#include "scheduler/job.h"
#include "scheduler/planner/instance.h"

namespace sidestep::scheduler {

struct WanTable {
  std::vector<std::string> regions;  // in order of their first link
  // [from * regions + to]; the diagonal is between two nodes of one region.
  std::vector<double> latency_s;  // one way
  std::vector<double> bandwidth;  // bytes a second
  // For emulation alone; nothing where the link does not say.
  std::vector<std::optional<double>> jitter_s, loss;
};

// `{same_region: {latency_ms, bandwidth_gib_s}, links: [{from, to, latency_ms, bandwidth_gib_s}]}`, and where
// wanted `jitter_ms` and `loss` beside the figures. A link counts both ways unless the other way is given
// too. Errors: all problems at once, each with its place.
Result<WanTable> parse_wan(const nlohmann::json& json, const std::string& source);
Result<WanTable> load_wan(const std::string& path);

// The region of each node, as an index: "20" spreads nodes over the regions in turn, "Belgium:3,Iowa:2" says
// where. Errors: an unknown region, with the nearest known one; no number; more than Instance::nodes_max.
Result<std::vector<std::uint32_t>> wan_nodes(const WanTable& table, const std::string& text);

// What the nodes compute and send.
struct WanWork {
  std::string name;
  std::uint32_t stages = 1;
  std::uint32_t stages_per_path = 1;
  std::uint32_t microbatches = 1;          // a step
  double samples = 1;                      // a microbatch
  std::vector<double> layers;              // by stage
  std::uint64_t activation_bytes = 0;      // that one microbatch sends
  std::vector<std::uint64_t> stage_bytes;  // averaged after a step, by stage
};
// Of steps with this skip ratio. Gradients are averaged as float32; a precision still "auto" counts as
// float32.
WanWork wan_work(const JobSpec& job, double skip_ratio);
// The share of the stages that routes leave out, as a job says it (design.md: skip ratio).
std::uint32_t stages_per_path(std::uint32_t stages, double skip_ratio);

// The figures are SkipPipe's.
struct WanOptions {
  std::uint64_t seed = 1;
  double heterogeneity = 0;  // each node is up to this much slower, drawn evenly over log(1 to 1 + h)
  std::uint32_t slots_min = 3, slots_max = 3;  // drawn evenly
  double layer_forward_s = 0.055;              // of one sample through one layer
  double backward_ratio = 1.5;                 // of the forward
  double head_ratio = 0.25;                    // of a stage's forward
  double task_gap_s = 0.13;
  double transfer_overhead_s = 0.35;  // beside latency and bytes over bandwidth
  std::uint32_t max_swaps = 2;
  std::uint32_t max_swap_distance = 1;
  std::vector<double> visit_weights;             // by stage (visit_share.h); empty: even
  std::optional<std::uint32_t> visit_slack = 1;  // around each stage's share; none: no visit limits
  bool averaging = true;                         // latency, bandwidth and stage bytes are in the instance
};

// `regions` has one entry a node. Errors: more than an instance may have, or a time longer than it may be.
Result<Instance> instance_from_wan(const WanTable& table, const std::vector<std::uint32_t>& regions,
                                   const WanWork& work, const WanOptions& options);

}  // namespace sidestep::scheduler

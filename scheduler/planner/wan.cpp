#include "scheduler/planner/wan.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "net/assert.h"
#include "net/random.h"
#include "scheduler/memory.h"
#include "scheduler/nearest.h"
#include "scheduler/planner/field_reader.h"
#include "scheduler/planner/visit_share.h"

namespace sidestep::scheduler {
namespace {

std::int64_t microseconds(double seconds) { return std::llround(seconds * 1e6); }

std::string counted(std::size_t count, const char* what) {
  return std::to_string(count) + ' ' + what + (count == 1 ? "" : "s");
}

// A whole number of nodes, or nothing.
std::optional<std::uint32_t> node_count(std::string_view text) {
  std::uint32_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end != text.data() + text.size() || count == 0) return std::nullopt;
  return count;
}

Status check_nodes(std::size_t count) {
  if (count <= Instance::nodes_max) return {};
  return Status::invalid("value " + std::to_string(count) + " is too large, at most " +
                         std::to_string(Instance::nodes_max) + " nodes allowed");
}

std::vector<InstanceNode> make_nodes(const WanTable& table, const std::vector<std::uint32_t>& regions,
                                     const WanWork& work, const WanOptions& options) {
  net::Random random(options.seed);
  std::vector<InstanceNode> nodes;
  const double most_layers = *std::max_element(work.layers.begin(), work.layers.end());
  for (const std::uint32_t region : regions) {
    InstanceNode& node = nodes.emplace_back();
    node.id = std::to_string(nodes.size() - 1);
    node.numeric_id = true;
    node.location = table.regions[region];
    const double slower = std::exp(random.uniform() * std::log1p(options.heterogeneity));
    const double layer_s = options.layer_forward_s * work.samples * slower;
    const auto task_us = [](double seconds) { return std::max<std::int64_t>(microseconds(seconds), 1); };
    for (const double layers : work.layers) {
      node.forward_us.push_back(task_us(layers * layer_s));
      node.backward_us.push_back(task_us(layers * layer_s * options.backward_ratio));
    }
    node.head_us = task_us(most_layers * layer_s * options.head_ratio);
    node.slots = static_cast<std::uint32_t>(random.between(options.slots_min, options.slots_max));
  }
  return nodes;
}

Status check_time(const char* what, std::int64_t us) {
  if (us <= Instance::time_us_max) return {};
  return Status::invalid(std::string(what) + " takes " + std::to_string(us / 1'000'000) + " s, at most " +
                         std::to_string(Instance::time_us_max / 1'000'000) + " allowed");
}

}  // namespace

Result<std::vector<std::uint32_t>> wan_nodes(const WanTable& table, const std::string& text) {
  std::vector<std::uint32_t> nodes;
  if (const std::optional<std::uint32_t> count = node_count(text)) {
    if (Status status = check_nodes(*count); !status.ok()) return status;
    for (std::uint32_t n = 0; n < *count; ++n)
      nodes.push_back(n % static_cast<std::uint32_t>(table.regions.size()));
    return nodes;
  }
  std::string_view rest = text;
  while (true) {
    const std::string_view part = rest.substr(0, rest.find(','));
    const std::size_t colon = part.rfind(':');
    const std::optional<std::uint32_t> count =
        colon == std::string_view::npos ? std::nullopt : node_count(part.substr(colon + 1));
    if (!count) return Status::invalid(in_quotes(part) + " is neither a number of nodes nor REGION:NUMBER");
    const std::string region(part.substr(0, colon));
    const auto it = std::find(table.regions.begin(), table.regions.end(), region);
    if (it == table.regions.end()) {
      const std::string near = nearest(region, table.regions);
      return Status::invalid("no region " + in_quotes(region) +
                             (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
    }
    if (Status status = check_nodes(nodes.size() + *count); !status.ok()) return status;
    nodes.insert(nodes.end(), *count, static_cast<std::uint32_t>(it - table.regions.begin()));
    if (part.size() == rest.size()) return nodes;
    rest.remove_prefix(part.size() + 1);
  }
}

std::uint32_t stages_per_path(std::uint32_t stages, double skip_ratio) {
  return std::max(1u, static_cast<std::uint32_t>(std::floor(stages * (1 - skip_ratio) + 0.5)));
}

WanWork wan_work(const JobSpec& job, double skip_ratio) {
  WanWork work;
  work.name = job.name;
  work.stages = static_cast<std::uint32_t>(job.pipeline.stages);
  work.stages_per_path = stages_per_path(work.stages, skip_ratio);
  work.microbatches = static_cast<std::uint32_t>(job.pipeline.microbatches_per_step);
  work.samples = static_cast<double>(job.pipeline.microbatch_size);
  for (std::int64_t s = 0; s < job.pipeline.stages; ++s) {
    work.layers.push_back(static_cast<double>(job.layer_count(s)));
    work.stage_bytes.push_back(stage_parameters(job, s) * sizeof(float));
  }
  work.activation_bytes = job.activation_bytes();
  return work;
}

Result<Instance> instance_from_wan(const WanTable& table, const std::vector<std::uint32_t>& regions,
                                   const WanWork& work, const WanOptions& options) {
  SIDESTEP_ASSERT(work.layers.size() == work.stages && options.slots_min <= options.slots_max);
  if (work.stages > Instance::stages_max)
    return Status::invalid(counted(work.stages, "stage") + ", at most " +
                           std::to_string(Instance::stages_max) + " allowed");
  if (work.microbatches > Instance::microbatches_max)
    return Status::invalid(std::to_string(work.microbatches) + " microbatches a step, at most " +
                           std::to_string(Instance::microbatches_max) + " allowed");
  Instance instance;
  instance.name = work.name.empty() ? counted(regions.size(), "node") : work.name;
  instance.stages = work.stages;
  instance.stages_per_path = work.stages_per_path;
  instance.max_swaps = options.max_swaps;
  instance.max_swap_distance = options.max_swap_distance;
  instance.microbatches = work.microbatches;
  instance.stage_out.assign(work.stages, 0);
  if (options.visit_slack)
    share_visits(instance, options.visit_weights.empty() ? even_weights(work.stages) : options.visit_weights,
                 *options.visit_slack);
  else
    free_visits(instance);
  instance.task_gap_us = microseconds(options.task_gap_s);
  instance.nodes = make_nodes(table, regions, work, options);
  for (const InstanceNode& node : instance.nodes) {
    std::int64_t longest = node.head_us;
    for (std::uint32_t s = 0; s < work.stages; ++s)
      longest = std::max({longest, node.forward_us[s], node.backward_us[s]});
    if (Status status = check_time("a task", longest); !status.ok()) return status;
  }

  const std::size_t nodes = regions.size();
  instance.transfer_us.assign(nodes * nodes, 0);
  if (options.averaging) {
    instance.stage_bytes = work.stage_bytes;
    instance.latency_us.assign(nodes * nodes, 0);
    instance.bandwidth.assign(nodes * nodes, 0);
  }
  for (std::size_t from = 0; from < nodes; ++from) {
    for (std::size_t to = 0; to < nodes; ++to) {
      if (from == to) continue;
      const std::size_t link = regions[from] * table.regions.size() + regions[to];
      const std::int64_t us =
          microseconds(table.latency_s[link] + options.transfer_overhead_s +
                       static_cast<double>(work.activation_bytes) / table.bandwidth[link]);
      if (Status status = check_time("a transfer", us); !status.ok())
        return status.with_context(table.regions[regions[from]] + " to " + table.regions[regions[to]]);
      instance.transfer_us[from * nodes + to] = static_cast<std::int32_t>(us);
      if (!options.averaging) continue;
      instance.latency_us[from * nodes + to] = microseconds(table.latency_s[link]);
      instance.bandwidth[from * nodes + to] = table.bandwidth[link];
    }
  }
  return instance;
}

}  // namespace sidestep::scheduler

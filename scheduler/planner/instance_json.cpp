#include "scheduler/planner/instance_json.h"

#include <algorithm>

#include "scheduler/options.h"
#include "scheduler/planner/instance_parser.h"

namespace sidestep::scheduler {

std::string count_text(std::uint64_t count, const char* what) {
  return std::to_string(count) + ' ' + what + (count == 1 ? "" : "s");
}

namespace {

// All microbatches one after the other, each on the slowest nodes and links.
double longest_step_us(const Instance& instance) {
  double task = 0, leg = 0;
  for (const InstanceNode& node : instance.nodes) {
    for (const std::int64_t us : node.forward_us) task = std::max(task, static_cast<double>(us));
    for (const std::int64_t us : node.backward_us) task = std::max(task, static_cast<double>(us));
    task = std::max(task, static_cast<double>(node.head_us));
  }
  for (const std::int32_t us : instance.transfer_us) leg = std::max(leg, static_cast<double>(us));
  const double tasks = 2.0 * instance.route_length() + 1;
  return instance.microbatches * tasks * (task + leg + static_cast<double>(instance.task_gap_us));
}

}  // namespace

Result<Instance> InstanceParser::parse() {
  if (!read_.object(root_, top_)) return read_.status();
  read_.unknown_keys(root_, top_, names_of(instance_fields()));
  if (const Json* name = find("name")) read_.text(*name, top_["name"], in_.name);
  read_stages();
  read_nodes();
  read_stages_out();
  read_stage_sizes();
  read_stage_of();
  read_microbatches();
  read_visits();
  read_transfers();
  read_averaging();
  read_memory();
  if (read_.ok() && longest_step_us(in_) > static_cast<double>(Instance::step_us_max))
    read_.refuse(top_["microbatches"], "one after the other they could take longer than " +
                                           std::to_string(Instance::step_us_max / 1'000'000) +
                                           " s: fewer microbatches, or shorter times");
  if (!read_.ok()) return read_.status();
  return std::move(in_);
}

const nlohmann::json* InstanceParser::find(const char* key) const {
  const auto it = root_.find(key);
  return it == root_.end() ? nullptr : &*it;
}

const nlohmann::json* InstanceParser::needed(const char* key) {
  const Json* value = find(key);
  if (value == nullptr) read_.refuse(top_[key], "is missing");
  return value;
}

bool InstanceParser::one_per_stage(const Json& list, const Place& at) {
  if (!stages_known_) return false;
  if (list.size() == in_.stages) return true;
  return read_.refuse(at,
                      count_text(list.size(), "number") + ", there are " + count_text(in_.stages, "stage"));
}

bool InstanceParser::read_stage(const Json& value, const Place& at, std::uint32_t& stage) {
  if (!read_.whole(value, at, field("stages_out"), stage) || !stages_known_) return false;
  if (stage < in_.stages) return true;
  return read_.refuse(
      at, "no stage " + std::to_string(stage) + ", there are stages 0 to " + std::to_string(in_.stages - 1));
}

void InstanceParser::read_stages() {
  if (const Json* stages = needed("stages"))
    stages_known_ = read_.whole(*stages, top_["stages"], field("stages"), in_.stages);
  in_.stages_per_path = in_.stages;
  if (optional_whole("stages_per_path", in_.stages_per_path) && stages_known_ &&
      in_.stages_per_path > in_.stages)
    read_.refuse(top_["stages_per_path"], "a route cannot visit " + std::to_string(in_.stages_per_path) +
                                              " of " + count_text(in_.stages, "stage"));
  optional_whole("max_swaps", in_.max_swaps);
  optional_whole("max_swap_distance", in_.max_swap_distance);
  optional_whole("max_skip", in_.max_skip);
  if (const Json* share = find("min_swap_share"))
    read_.number(*share, top_["min_swap_share"], field("min_swap_share"), in_.min_swap_share);
  if (const Json* gap = find("task_gap_s"))
    read_.time(*gap, top_["task_gap_s"], field("task_gap_s"), in_.task_gap_us);
  in_.stage_out.assign(in_.stages, 0);
}

void InstanceParser::read_nodes() {
  const Json* nodes = needed("nodes");
  const Place at = top_["nodes"];
  if (nodes == nullptr || !read_.list(*nodes, at)) return;
  if (nodes->empty() || nodes->size() > Instance::nodes_max) {
    read_.refuse(at, std::to_string(nodes->size()) + " entries, " +
                         (nodes->empty() ? "at least 1 needed"
                                         : "at most " + std::to_string(Instance::nodes_max) + " allowed"));
    return;
  }
  in_.nodes.resize(nodes->size());
  for (std::size_t n = 0; n < nodes->size(); ++n)
    if (read_.object((*nodes)[n], at[n])) read_node((*nodes)[n], at[n], n);
}

void InstanceParser::read_node(const Json& entry, const Place& at, std::size_t index) {
  static const std::vector<std::string> known = names_of(instance_node_fields());
  InstanceNode& node = in_.nodes[index];
  read_.unknown_keys(entry, at, known);
  const auto with = [&](const char* key, bool required, const auto& read) {
    const auto it = entry.find(key);
    if (it != entry.end())
      read(*it, at[key], field_of(instance_node_fields(), key));
    else if (required)
      read_.refuse(at[key], "is missing");
  };
  with("id", true, [&](const Json& value, const Place& place, const Field&) {
    if (!read_.id(value, place, node.id)) return;
    node.numeric_id = value.is_number();
    const auto [it, fresh] = node_of_.try_emplace(node.id, static_cast<std::uint32_t>(index));
    if (!fresh)
      read_.refuse(place, in_quotes(node.id) + " is the id of nodes[" + std::to_string(it->second) + "] too");
  });
  with("location", false,
       [&](const Json& value, const Place& place, const Field&) { read_.text(value, place, node.location); });
  const auto times = [&](std::vector<std::int64_t>& out) {
    return [&](const Json& value, const Place& place, const Field& field) {
      per_stage(value, place, field, &FieldReader::task_time, out);
    };
  };
  const auto whole = [&](auto& out) {
    return [&](const Json& value, const Place& place, const Field& field) {
      read_.whole(value, place, field, out);
    };
  };
  const auto flag = [&](bool& out) {
    return [&](const Json& value, const Place& place, const Field&) { read_.flag(value, place, out); };
  };
  with("forward_s", true, times(node.forward_us));
  with("backward_s", true, times(node.backward_us));
  with("head_s", true, [&](const Json& value, const Place& place, const Field& field) {
    read_.task_time(value, place, field, node.head_us);
  });
  with("slots", false, whole(node.slots));
  with("memory_bytes", false, whole(node.memory_bytes));
  with("max_stages", false, whole(node.max_stages));
  with("can_be_origin", false, flag(node.can_be_origin));
  with("draining", false, flag(node.draining));
}

Result<Instance> parse_instance(const nlohmann::json& json, const std::string& source) {
  return InstanceParser(json, source).parse();
}

Result<Instance> load_instance(const std::string& path) {
  const Result<nlohmann::json> json = load_json_file(path);
  if (!json.ok()) return json.status();
  return parse_instance(json.value(), path);
}

}  // namespace sidestep::scheduler

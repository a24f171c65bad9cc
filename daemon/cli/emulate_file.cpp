#include "daemon/cli/emulate_file.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <span>
#include <utility>

#include "daemon/driver/node_config.h"
#include "scheduler/nearest.h"
#include "scheduler/options.h"
#include "scheduler/planner/field_reader.h"
#include "scheduler/planner/instance_json.h"
#include "scheduler/planner/wan.h"

namespace sidestep::cli {
namespace {

using driver::EmulateBlock;
using driver::EmulateLink;
using scheduler::Field;
using scheduler::FieldReader;
using scheduler::Instance;
using scheduler::Place;
using scheduler::WanTable;
using Json = nlohmann::json;

constexpr std::int64_t seconds_max = static_cast<std::int64_t>(driver::emulated_seconds_max);

constexpr Field table_fields[] = {
    {"note", "anything", 0, 0, "", "for people; ignored"},
    {"wan", "file, or object", 0, 0, "required",
     "the links between regions, as in configs/instances/wan.json: the path of such a file, from this one's "
     "folder, or what would be in it"},
    {"nodes", "list of objects", 1, Instance::nodes_max, "required", "the machines; the first is node-1"},
    {"jitter_ms", "milliseconds", 0, seconds_max * 1'000, "0",
     "a message takes up to this much longer, drawn evenly, where its link does not say"},
    {"loss", "share of the messages", 0, 1, "0", "that never arrive, where their link does not say"},
    {"task_gap_s", "seconds", 0, seconds_max, "0",
     "after each forward, backward and head a node is busy this much longer"},
    {"fifo", "true or false", 0, 0, "false", "messages of one link queue and keep their order"},
    {"seed", "whole number", 0, std::int64_t{1} << 53, "1", "jitter and loss are drawn from it"},
};

constexpr Field node_fields[] = {
    {"region", "text", 0, 0, "required", "one of those that `wan` names"},
    {"forward_s", "seconds", 0, seconds_max, "0", "a forward takes at least this long"},
    {"backward_s", "seconds", 0, seconds_max, "0", "the same, backward"},
    {"head_s", "seconds", 0, seconds_max, "0", "the same, norm, head and loss"},
};

Status enough(const std::string& file, std::size_t found, std::size_t wanted) {
  if (found >= wanted) return {};
  return Status::invalid(file + ": nodes: " + std::to_string(found) + " entries, " + std::to_string(wanted) +
                         " nodes are to run");
}

class TableParser {
 public:
  TableParser(const Json& root, const EmulateRequest& request)
      : root_(root), request_(request), read_(request.file) {}

  Result<std::vector<EmulateBlock>> parse() {
    if (!read_.object(root_, top_)) return read_.status();
    read_.unknown_keys(root_, top_, names_of(table_fields));
    read_wan();
    number(root_, top_, table_fields, "jitter_ms", jitter_ms_);
    number(root_, top_, table_fields, "loss", loss_);
    number(root_, top_, table_fields, "task_gap_s", common_.task_gap_s);
    if (const auto fifo = root_.find("fifo"); fifo != root_.end())
      read_.flag(*fifo, top_["fifo"], common_.fifo);
    if (const auto seed = root_.find("seed"); seed != root_.end())
      read_.whole(*seed, top_["seed"], field_of(table_fields, "seed"), common_.seed);
    read_nodes();
    if (!read_.ok()) return problems();
    if (!wan_problem_.ok()) return wan_problem_;
    if (Status status = enough(request_.file, nodes_.size(), request_.nicknames.size()); !status.ok())
      return status;
    return blocks();
  }

 private:
  const Json* needed(const Json& object, const Place& at, const char* key) {
    const auto it = object.find(key);
    if (it != object.end()) return &*it;
    read_.refuse(at[key], "is missing");
    return nullptr;
  }

  void number(const Json& object, const Place& at, std::span<const Field> fields, const char* key,
              double& out) {
    if (const auto it = object.find(key); it != object.end())
      read_.number(*it, at[key], field_of(fields, key), out);
  }

  void read_wan() {
    const Json* value = needed(root_, top_, "wan");
    if (value == nullptr) return;
    if (!value->is_string() && !value->is_object()) {
      read_.refuse(top_["wan"], "must be a file or an object, found " + scheduler::brief(*value));
      return;
    }
    auto table = value->is_string()
                     ? scheduler::load_wan(driver::beside(request_.file, value->get<std::string>()))
                     : scheduler::parse_wan(*value, request_.file + ": wan");
    if (table.ok())
      wan_ = std::move(table).value();
    else
      wan_problem_ = table.status();
  }

  void read_nodes() {
    const Json* nodes = needed(root_, top_, "nodes");
    const Place at = top_["nodes"];
    if (nodes == nullptr || !read_.list(*nodes, at)) return;
    if (nodes->empty() || nodes->size() > Instance::nodes_max) {
      read_.refuse(at, std::to_string(nodes->size()) + " entries, 1 to " +
                           std::to_string(Instance::nodes_max) + " allowed");
      return;
    }
    for (std::size_t i = 0; i < nodes->size() && !read_.full(); ++i)
      if (read_.object((*nodes)[i], at[i])) read_node((*nodes)[i], at[i]);
  }

  void read_node(const Json& entry, const Place& at) {
    read_.unknown_keys(entry, at, names_of(node_fields));
    EmulateBlock node = common_;
    number(entry, at, node_fields, "forward_s", node.forward_s);
    number(entry, at, node_fields, "backward_s", node.backward_s);
    number(entry, at, node_fields, "head_s", node.head_s);
    std::string region;
    const Json* named = needed(entry, at, "region");
    if (named == nullptr || !read_.text(*named, at["region"], region) || !wan_) return;
    const auto it = std::find(wan_->regions.begin(), wan_->regions.end(), region);
    if (it == wan_->regions.end()) {
      const std::string near = scheduler::nearest(region, wan_->regions);
      read_.refuse(at["region"], "no region " + scheduler::in_quotes(region) +
                                     (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
      return;
    }
    nodes_.push_back(std::move(node));
    regions_.push_back(static_cast<std::size_t>(it - wan_->regions.begin()));
  }

  Status problems() const {
    if (wan_problem_.ok()) return read_.status();
    return Status::invalid(wan_problem_.message() + '\n' + read_.status().message());
  }

  std::vector<EmulateBlock> blocks() {
    nodes_.resize(request_.nicknames.size());
    for (std::size_t from = 0; from < nodes_.size(); ++from) {
      for (std::size_t to = 0; to < nodes_.size(); ++to) {
        if (from == to) continue;
        const std::size_t link = regions_[from] * wan_->regions.size() + regions_[to];
        nodes_[from].links.push_back({.to = request_.nicknames[to],
                                      .latency_s = wan_->latency_s[link],
                                      .bandwidth_bytes_per_s = wan_->bandwidth[link],
                                      .jitter_s = wan_->jitter_s[link].value_or(jitter_ms_ / 1e3),
                                      .loss = wan_->loss[link].value_or(loss_)});
      }
    }
    return std::move(nodes_);
  }

  const Json& root_;
  const EmulateRequest& request_;
  const Place top_;
  FieldReader read_;
  std::optional<WanTable> wan_;
  Status wan_problem_;
  double jitter_ms_ = 0, loss_ = 0;
  EmulateBlock common_;
  std::vector<EmulateBlock> nodes_;
  std::vector<std::size_t> regions_;  // of the nodes
};

double seconds(std::int64_t us) { return static_cast<double>(us) / 1e6; }

// A time that is one for all stages.
Status one_time(const std::string& place, const std::vector<std::int64_t>& by_stage, double& out) {
  if (std::adjacent_find(by_stage.begin(), by_stage.end(), std::not_equal_to<>()) != by_stage.end())
    return Status::invalid(place + ": differs by stage; a node emulates one time for all");
  out = seconds(by_stage.front());
  return {};
}

EmulateLink instance_link(const Instance& instance, std::size_t from, std::size_t to, std::string nickname) {
  EmulateLink link;
  link.to = std::move(nickname);
  const std::size_t index = from * instance.node_count() + to;
  if (instance.transfer_us[index] == Instance::no_link) {
    link.loss = 1;
    return link;
  }
  link.transfer_s = seconds(instance.transfer_us[index]);
  if (instance.counts_averaging()) {
    link.latency_s = seconds(instance.latency_us[index]);
    link.bandwidth_bytes_per_s = instance.bandwidth[index];
  }
  return link;
}

Result<std::vector<EmulateBlock>> instance_blocks(const Json& json, const EmulateRequest& request) {
  const auto parsed = scheduler::parse_instance(json, request.file);
  if (!parsed.ok()) return parsed.status();
  const Instance& instance = parsed.value();
  if (Status status = enough(request.file, instance.node_count(), request.nicknames.size()); !status.ok())
    return status;
  std::vector<EmulateBlock> blocks(request.nicknames.size());
  for (std::size_t from = 0; from < blocks.size(); ++from) {
    const scheduler::InstanceNode& node = instance.nodes[from];
    const std::string place = request.file + ": nodes[" + std::to_string(from) + "].";
    if (Status status = one_time(place + "forward_s", node.forward_us, blocks[from].forward_s); !status.ok())
      return status;
    if (Status status = one_time(place + "backward_s", node.backward_us, blocks[from].backward_s);
        !status.ok())
      return status;
    blocks[from].head_s = seconds(node.head_us);
    blocks[from].task_gap_s = seconds(instance.task_gap_us);
    for (std::size_t to = 0; to < blocks.size(); ++to)
      if (from != to) blocks[from].links.push_back(instance_link(instance, from, to, request.nicknames[to]));
  }
  return blocks;
}

void scale_times(EmulateBlock& block, double scale) {
  for (double* time : {&block.forward_s, &block.backward_s, &block.head_s, &block.task_gap_s}) *time *= scale;
  for (EmulateLink& link : block.links) {
    for (double* time : {&link.latency_s, &link.transfer_s, &link.jitter_s}) *time *= scale;
    link.bandwidth_bytes_per_s /= scale;
  }
}

}  // namespace

Result<std::vector<EmulateBlock>> load_emulation(const EmulateRequest& request) {
  const auto json = scheduler::load_json_file(request.file);
  if (!json.ok()) return json.status();
  const bool is_instance = json.value().is_object() && json.value().contains("transfer_s");
  auto blocks =
      is_instance ? instance_blocks(json.value(), request) : TableParser(json.value(), request).parse();
  if (!blocks.ok()) return blocks.status();
  std::vector<EmulateBlock> scaled = std::move(blocks).value();
  for (EmulateBlock& block : scaled) scale_times(block, request.scale);
  return scaled;
}

std::string emulate_keys_markdown() {
  return "| key | value | default | |\n|---|---|---|---|\n" + scheduler::markdown_rows(table_fields, "") +
         scheduler::markdown_rows(node_fields, "nodes[].");
}

}  // namespace sidestep::cli

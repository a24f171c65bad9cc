#include "scheduler/record.h"

#include <algorithm>

#include "scheduler/json_reader.h"
#include "scheduler/store.h"

namespace sidestep::scheduler {
namespace {

// Of one step's speed in the smoothed one.
constexpr double smoothing = 0.2;

// Keys are long and come often: a line names each node once, in "nodes", and means it by its place there.
class NodeTable {
 public:
  std::size_t place(const net::NodeKey& node) {
    const auto it = std::find(nodes_.begin(), nodes_.end(), node);
    if (it != nodes_.end()) return static_cast<std::size_t>(it - nodes_.begin());
    nodes_.push_back(node);
    return nodes_.size() - 1;
  }
  nlohmann::json json() const {
    nlohmann::json list = nlohmann::json::array();
    for (const net::NodeKey& node : nodes_) list.push_back(node.hex());
    return list;
  }

  void read(const nlohmann::json& json, JsonReader& reader) {
    for (const nlohmann::json& hex : reader.list(json)) nodes_.push_back(reader.key(reader.text(hex)));
  }
  net::NodeKey at(const nlohmann::json& json, JsonReader& reader) const {
    const std::uint64_t place = reader.natural(json);
    if (place < nodes_.size()) return nodes_[place];
    reader.fail("a node's place is not in \"nodes\"");
    return {};
  }

 private:
  std::vector<net::NodeKey> nodes_;
};

nlohmann::json routes_to_json(const std::vector<RecordRoute>& routes, NodeTable& nodes) {
  nlohmann::json list = nlohmann::json::array();
  for (const RecordRoute& route : routes) {
    nlohmann::json hops = nlohmann::json::array();
    for (const net::Hop& hop : route.hops) hops.push_back({hop.stage, nodes.place(hop.node)});
    list.push_back({{"microbatch", route.microbatch},
                    {"attempt", route.attempt},
                    {"loss", number_json(route.loss)},
                    {"hops", std::move(hops)}});
  }
  return list;
}

std::vector<RecordRoute> read_routes(const nlohmann::json& json, const NodeTable& nodes, JsonReader& reader) {
  std::vector<RecordRoute> routes;
  for (const nlohmann::json& entry : reader.list(json)) {
    RecordRoute& route = routes.emplace_back();
    route.microbatch = reader.natural32(reader.member(entry, "microbatch"));
    route.attempt = reader.natural32(reader.member(entry, "attempt"));
    route.loss = reader.number(reader.member(entry, "loss"));
    for (const nlohmann::json& pair : reader.list(reader.member(entry, "hops"))) {
      if (reader.list(pair, 2).empty()) break;
      route.hops.push_back({reader.natural32(pair[0]), nodes.at(pair[1], reader)});
    }
  }
  return routes;
}

// [microbatch, attempt], and true after them where it is the head's addition.
nlohmann::json added_to_json(const std::vector<net::Added>& added) {
  nlohmann::json list = nlohmann::json::array();
  for (const net::Added& one : added) {
    nlohmann::json entry = {one.microbatch, one.attempt};
    if (one.head) entry.push_back(true);
    list.push_back(std::move(entry));
  }
  return list;
}

std::vector<net::Added> read_added(const nlohmann::json& json, JsonReader& reader) {
  std::vector<net::Added> added;
  for (const nlohmann::json& entry : reader.list(json)) {
    const bool head = entry.is_array() && entry.size() == 3;
    if (reader.list(entry, head ? 3 : 2).empty()) break;
    added.push_back({reader.natural32(entry[0]), reader.natural32(entry[1]), head && reader.flag(entry[2])});
  }
  return added;
}

std::optional<double> read_optional(const nlohmann::json& json, JsonReader& reader) {
  if (json.is_null()) return {};
  return reader.number(json);
}

}  // namespace

nlohmann::json to_json(const RecordRecovery& recovery) {
  nlohmann::json sources = nlohmann::json::array();
  for (const RecordRecovery::Source& source : recovery.sources)
    sources.push_back({{"stage", source.stage}, {"weight", source.weight}});
  return {{"stage", recovery.stage},
          {"node", recovery.node.hex()},
          {"commit", recovery.commit},
          {"policy", recovery.policy},
          {"sources", std::move(sources)},
          {"moments", recovery.moments},
          {"updates", recovery.updates},
          {"learning_rate_scale", recovery.learning_rate_scale},
          {"bytes", recovery.bytes},
          {"duration_us", recovery.duration_us},
          {"detect_us", recovery.detect_us},
          {"replan_us", recovery.replan_us},
          {"first_step_us", recovery.first_step_us}};
}

Result<RecordRecovery> parse_recovery(const nlohmann::json& json) {
  constexpr double scale_max = 1e6;
  JsonReader reader("a recovery");
  RecordRecovery recovery;
  recovery.stage = reader.natural32(reader.member(json, "stage"));
  recovery.node = reader.key(reader.text(reader.member(json, "node")));
  recovery.commit = reader.natural(reader.member(json, "commit"));
  recovery.policy = reader.text(reader.member(json, "policy"));
  for (const nlohmann::json& entry : reader.list(reader.member(json, "sources"))) {
    RecordRecovery::Source& source = recovery.sources.emplace_back();
    source.stage = reader.natural32(reader.member(entry, "stage"));
    source.weight = reader.number(reader.member(entry, "weight"));
    if (!(source.weight >= 0 && source.weight <= 1)) reader.fail("a weight is not from 0 to 1");
  }
  if (recovery.sources.size() > 1 &&
      std::ranges::count(recovery.sources, recovery.stage, &RecordRecovery::Source::stage) > 0)
    reader.fail("a stage is its own source, beside others");
  recovery.moments = reader.flag(reader.member(json, "moments"));
  recovery.updates = reader.natural(reader.member(json, "updates"), std::numeric_limits<std::int64_t>::max());
  recovery.learning_rate_scale = reader.number(reader.member(json, "learning_rate_scale"));
  if (!(recovery.learning_rate_scale > 0 && recovery.learning_rate_scale <= scale_max))
    reader.fail("learning_rate_scale is not from 0 to " + std::to_string(scale_max));
  recovery.bytes = reader.natural(reader.member(json, "bytes"));
  const auto microseconds = [&](const char* key) {
    return static_cast<std::int64_t>(
        reader.natural(reader.member(json, key), std::numeric_limits<std::int64_t>::max()));
  };
  recovery.duration_us = microseconds("duration_us");
  recovery.detect_us = microseconds("detect_us");
  recovery.replan_us = microseconds("replan_us");
  recovery.first_step_us = microseconds("first_step_us");
  if (!reader.ok()) return reader.status();
  return recovery;
}

nlohmann::json to_json(const RecordStep& step) {
  NodeTable nodes;
  nlohmann::json stages = nlohmann::json::array();
  for (const RecordStage& stage : step.stages) {
    nlohmann::json replicas = nlohmann::json::array();
    for (const RecordReplica& replica : stage.replicas)
      replicas.push_back({{"node", nodes.place(replica.node)},
                          {"threads", replica.threads},
                          {"added", added_to_json(replica.added)}});
    stages.push_back({{"stage", stage.stage},
                      {"attempt", stage.attempt},
                      {"norm", number_json(stage.norm)},
                      {"replicas", std::move(replicas)}});
  }
  nlohmann::json routes = routes_to_json(step.routes, nodes);
  nlohmann::json evaluations = routes_to_json(step.evaluations, nodes);
  nlohmann::json json = {{"step", step.step},
                         {"epoch", step.epoch},
                         {"view", step.view},
                         {"skipped_update", step.skipped_update},
                         {"loss", optional_json(step.loss)},
                         {"validation_loss", optional_json(step.validation_loss)},
                         {"tokens", step.tokens},
                         {"duration_us", step.duration_us},
                         {"nodes", nodes.json()},
                         {"routes", std::move(routes)},
                         {"evaluations", std::move(evaluations)},
                         {"stages", std::move(stages)}};
  for (const double loss : step.validation_skip_losses)
    json["validation_skip_losses"].push_back(number_json(loss));
  for (const RecordRecovery& recovery : step.recoveries) json["recoveries"].push_back(to_json(recovery));
  if (!step.end.empty()) json["end"] = step.end;
  return json;
}

Result<RecordStep> parse_record_step(const nlohmann::json& json) {
  JsonReader reader("record step");
  RecordStep step;
  step.step = reader.natural(reader.member(json, "step"));
  step.epoch = reader.natural(reader.member(json, "epoch"));
  step.view = reader.natural(reader.member(json, "view"));
  step.skipped_update = reader.flag(reader.member(json, "skipped_update"));
  if (json.contains("end")) step.end = reader.text(json.at("end"));
  step.loss = read_optional(reader.member(json, "loss"), reader);
  step.validation_loss = read_optional(reader.member(json, "validation_loss"), reader);
  if (json.contains("validation_skip_losses"))
    for (const nlohmann::json& loss : reader.list(json.at("validation_skip_losses")))
      step.validation_skip_losses.push_back(reader.number(loss));
  step.tokens = reader.natural(reader.member(json, "tokens"));
  step.duration_us = static_cast<std::int64_t>(
      reader.natural(reader.member(json, "duration_us"), std::numeric_limits<std::int64_t>::max()));
  NodeTable nodes;
  nodes.read(reader.member(json, "nodes"), reader);
  step.routes = read_routes(reader.member(json, "routes"), nodes, reader);
  step.evaluations = read_routes(reader.member(json, "evaluations"), nodes, reader);
  for (const nlohmann::json& entry : reader.list(reader.member(json, "stages"))) {
    RecordStage& stage = step.stages.emplace_back();
    stage.stage = reader.natural32(reader.member(entry, "stage"));
    stage.attempt = reader.natural32(reader.member(entry, "attempt"));
    stage.norm = reader.number(reader.member(entry, "norm"));
    for (const nlohmann::json& part : reader.list(reader.member(entry, "replicas"))) {
      RecordReplica& replica = stage.replicas.emplace_back();
      replica.node = nodes.at(reader.member(part, "node"), reader);
      replica.threads = reader.natural32(reader.member(part, "threads"));
      replica.added = read_added(reader.member(part, "added"), reader);
    }
  }
  if (json.contains("recoveries"))
    for (const nlohmann::json& entry : reader.list(json.at("recoveries"))) {
      Result<RecordRecovery> recovery = parse_recovery(entry);
      if (recovery.ok())
        step.recoveries.push_back(std::move(recovery).value());
      else
        reader.fail(recovery.status().message());
    }
  if (!reader.ok()) return reader.status();
  return step;
}

void take_validation(const JobSpec& job, RecordStep& step) {
  step.validation_loss.reset();
  step.validation_skip_losses.clear();
  if (step.evaluations.empty()) return;
  const auto count = static_cast<std::size_t>(job.validation.microbatches);
  std::vector<double> sums(1 + job.validation.skip.size(), 0);
  for (const RecordRoute& route : step.evaluations) sums[route.microbatch / count] += route.loss;
  step.validation_loss = sums[0] / static_cast<double>(count);
  for (std::size_t i = 1; i < sums.size(); ++i)
    step.validation_skip_losses.push_back(sums[i] / static_cast<double>(count));
}

void take_step(JobRow& job, const RecordStep& step) {
  job.commit = step.step;
  if (step.loss) job.loss = *step.loss;
  if (step.validation_loss) job.validation_loss = step.validation_loss;
  if (step.skipped_update) ++job.skipped_updates;
  job.end_reason = step.end;
  if (step.tokens == 0 || step.duration_us <= 0) return;
  const double now = static_cast<double>(step.tokens) * 1e6 / static_cast<double>(step.duration_us);
  job.tokens_per_s = job.tokens_per_s == 0 ? now : job.tokens_per_s + smoothing * (now - job.tokens_per_s);
}

nlohmann::json to_json(const RecordHeader& header) { return {{"job", header.job}, {"spec", header.spec}}; }

Result<RecordHeader> parse_record_header(const nlohmann::json& json) {
  JsonReader reader("record header");
  RecordHeader header;
  header.job = reader.text(reader.member(json, "job"));
  header.spec = reader.member(json, "spec");
  if (!reader.ok()) return reader.status();
  return header;
}

}  // namespace sidestep::scheduler

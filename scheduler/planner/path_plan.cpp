#include "scheduler/planner/path_plan.h"

#include <algorithm>
#include <map>

#include "scheduler/planner/field_reader.h"
#include "scheduler/planner/instance_json.h"

namespace sidestep::scheduler {
namespace {

constexpr std::int64_t stage_max = Instance::stages_max - 1;
constexpr std::int64_t microbatches_max = Instance::microbatches_max;

constexpr Field plan_table[] = {
    {"stage_of", "", 0, stage_max, "", ""},
    {"slots_of", "", 0, microbatches_max, "", ""},
    {"paths", "", 0, 0, "", ""},
    {"microbatch", "", 0, microbatches_max - 1, "", ""},
};

// Of a plan and of an entry of `paths`. A plan may come with what was expected of it.
const std::vector<std::string> plan_keys{"name",     "note",     "expected_makespan_s",
                                         "stage_of", "slots_of", "paths"};
const std::vector<std::string> path_keys{"microbatch", "hops"};

class PlanParser {
 public:
  using Json = nlohmann::json;

  PlanParser(const Json& root, const Instance& instance, const std::string& source)
      : root_(root), instance_(instance), read_(source) {
    for (std::uint32_t n = 0; n < instance.nodes.size(); ++n) node_of_.emplace(instance.nodes[n].id, n);
  }

  Result<PathPlan> parse() {
    if (!read_.object(root_, top_)) return read_.status();
    read_.unknown_keys(root_, top_, plan_keys);
    read_stage_of();
    read_slots();
    read_paths();
    if (!read_.ok()) return read_.status();
    return std::move(plan_);
  }

 private:
  const Field& field(const char* name) const { return field_of(plan_table, name); }
  static const Json* find(const Json& object, const char* key) {
    const auto it = object.find(key);
    return it == object.end() ? nullptr : &*it;
  }

  bool find_node(const std::string& id, const Place& at, std::uint32_t& node) {
    const auto it = node_of_.find(id);
    if (it == node_of_.end()) return read_.refuse(at, [&] { return "no node " + in_quotes(id); });
    node = it->second;
    return true;
  }

  bool read_stage(const Json& value, const Place& at, std::uint32_t& stage) {
    if (!read_.whole(value, at, field("stage_of"), stage)) return false;
    return stage < instance_.stages || read_.refuse(at, [&] {
      return "no stage " + std::to_string(stage) + ", there are stages 0 to " +
             std::to_string(instance_.stages - 1);
    });
  }

  void read_stage_of() {
    plan_.stage_of.resize(instance_.nodes.size());
    const Place at = top_["stage_of"];
    const Json* stage_of = find(root_, "stage_of");
    if (stage_of == nullptr) {
      placed_ = instance_.placement_fixed();
      plan_.stage_of = instance_.stage_of;
      plan_.stage_of.resize(instance_.nodes.size());
      if (!placed_) read_.refuse(at, "is missing, and the instance does not have it either");
      return;
    }
    placed_ = read_.object(*stage_of, at);
    if (!placed_) return;
    for (const auto& entry : stage_of->items()) {
      const Place place = at[entry.key()];
      std::uint32_t node = 0;
      if (!find_node(entry.key(), place, node) || !read_held(entry.value(), place, plan_.stage_of[node]))
        placed_ = false;
    }
  }

  bool read_held(const Json& value, const Place& at, std::vector<std::uint32_t>& held) {
    std::uint32_t stage = 0;
    if (!value.is_array()) {
      if (!read_stage(value, at, stage)) return false;
      held = {stage};
      return true;
    }
    for (std::size_t i = 0; i < value.size(); ++i) {
      if (!read_stage(value[i], at[i], stage)) return false;
      if (std::find(held.begin(), held.end(), stage) != held.end())
        return read_.refuse(at[i], "stage " + std::to_string(stage) + " is there twice");
      held.push_back(stage);
    }
    std::sort(held.begin(), held.end());
    return true;
  }

  void read_slots() {
    plan_.slots.assign(instance_.nodes.size(), 0);
    if (!placed_) return;
    for (std::size_t n = 0; n < instance_.nodes.size(); ++n)
      plan_.slots[n] = instance_.slots_with(n, plan_.stage_of[n]);
    const Place at = top_["slots_of"];
    const Json* slots_of = find(root_, "slots_of");
    if (slots_of == nullptr || !read_.object(*slots_of, at)) return;
    for (const auto& entry : slots_of->items()) {
      const Place place = at[entry.key()];
      std::uint32_t node = 0, slots = 0;
      if (!find_node(entry.key(), place, node) ||
          !read_.whole(entry.value(), place, field("slots_of"), slots))
        continue;
      if (slots == 0 && !plan_.stage_of[node].empty())
        read_.refuse(place, "a node that holds a stage needs at least 1 slot");
      else
        plan_.slots[node] = slots;
    }
  }

  void read_paths() {
    const Place at = top_["paths"];
    const Json* paths = find(root_, "paths");
    if (paths == nullptr) {
      read_.refuse(at, "is missing");
      return;
    }
    if (!read_.list(*paths, at)) return;
    if (paths->size() > Instance::microbatches_max) {
      read_.refuse(at, std::to_string(paths->size()) + " entries, at most " +
                           std::to_string(Instance::microbatches_max) + " allowed");
      return;
    }
    plan_.paths.resize(paths->size());
    for (std::size_t p = 0; p < paths->size() && !read_.full(); ++p)
      if (read_.object((*paths)[p], at[p])) read_path((*paths)[p], at[p], plan_.paths[p]);
  }

  void read_path(const Json& entry, const Place& at, Path& path) {
    read_.unknown_keys(entry, at, path_keys);
    if (const Json* microbatch = find(entry, "microbatch"))
      read_.whole(*microbatch, at["microbatch"], field("microbatch"), path.microbatch);
    else
      read_.refuse(at["microbatch"], "is missing");
    const Json* hops = find(entry, "hops");
    const Place hops_at = at["hops"];
    if (hops == nullptr) {
      read_.refuse(hops_at, "is missing");
      return;
    }
    if (!read_.list(*hops, hops_at)) return;
    if (hops->empty() || hops->size() > Instance::stages_max) {
      read_.refuse(hops_at,
                   std::to_string(hops->size()) + " entries, " +
                       (hops->empty() ? "at least 1 needed"
                                      : "at most " + std::to_string(Instance::stages_max) + " allowed"));
      return;
    }
    path.hops.resize(hops->size());
    for (std::size_t h = 0; h < hops->size(); ++h) read_hop((*hops)[h], hops_at[h], path.hops[h]);
  }

  void read_hop(const Json& value, const Place& at, PathHop& hop) {
    const bool pair = value.is_array();
    if (pair && value.size() != 2) {
      read_.refuse(at, "must be a node's id or [stage, id], found a list of " + std::to_string(value.size()));
      return;
    }
    std::string id;
    const bool stage_good = !pair || read_stage(value[0], at[std::size_t{0}], hop.stage);
    if (!(pair ? read_.id(value[1], at[1], id) : read_.id(value, at, id)) || !find_node(id, at, hop.node) ||
        !stage_good || !placed_)
      return;
    const std::vector<std::uint32_t>& held = plan_.stage_of[hop.node];
    const auto refuse = [&](const std::string& why) {
      read_.refuse(at, [&] { return "node " + in_quotes(id) + why; });
    };
    if (held.empty())
      refuse(" holds no stage");
    else if (pair && !std::binary_search(held.begin(), held.end(), hop.stage))
      refuse(" does not hold stage " + std::to_string(hop.stage));
    else if (!pair && held.size() > 1)
      refuse(" holds several stages: write [stage, id]");
    else if (!pair)
      hop.stage = held.front();
  }

  const Json& root_;
  const Instance& instance_;
  const Place top_;
  FieldReader read_;
  PathPlan plan_;
  std::map<std::string, std::uint32_t, std::less<>> node_of_;
  bool placed_ = false;  // it is known who holds what
};

}  // namespace

nlohmann::ordered_json to_json(const PathPlan& plan, const Instance& instance) {
  using Json = nlohmann::ordered_json;
  std::vector<Json> ids;
  for (const InstanceNode& node : instance.nodes) ids.push_back(id_json(node));
  Json json;
  json["stage_of"] = Json::object();
  json["slots_of"] = Json::object();
  for (std::size_t n = 0; n < instance.nodes.size(); ++n) {
    const std::vector<std::uint32_t>& held = plan.stage_of[n];
    const std::string& id = instance.nodes[n].id;
    if (!held.empty()) json["stage_of"][id] = held.size() == 1 ? Json(held[0]) : Json(held);
    json["slots_of"][id] = plan.slots[n];
  }
  json["paths"] = Json::array();
  for (const Path& path : plan.paths) {
    Json hops = Json::array();
    for (const PathHop& hop : path.hops)
      hops.push_back(plan.stage_of[hop.node].size() == 1 ? ids[hop.node] : Json{hop.stage, ids[hop.node]});
    json["paths"].push_back({{"microbatch", path.microbatch}, {"hops", std::move(hops)}});
  }
  return json;
}

Result<PathPlan> parse_path_plan(const nlohmann::json& json, const Instance& instance,
                                 const std::string& source) {
  return PlanParser(json, instance, source).parse();
}

}  // namespace sidestep::scheduler

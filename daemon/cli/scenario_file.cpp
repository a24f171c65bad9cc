#include "daemon/cli/scenario_file.h"

#include <algorithm>
#include <utility>

#include "daemon/driver/node_config.h"
#include "scheduler/nearest.h"
#include "scheduler/options.h"
#include "scheduler/planner/field_reader.h"
#include "scheduler/planner/instance.h"

namespace sidestep::cli {
namespace {

using Json = nlohmann::json;
using scheduler::OptionTable;
using scheduler::Problems;
using sim::Scenario;
using sim::ScenarioEvent;
using sim::ScenarioNodes;

constexpr double seconds_max = 1e6, ms_max = 1e6;
constexpr auto nodes_max = static_cast<std::int64_t>(scheduler::Instance::nodes_max);

std::vector<std::string> kind_names() {
  std::vector<std::string> names;
  for (const sim::EventForm& form : sim::event_forms) names.emplace_back(form.name);
  return names;
}

OptionTable node_table(ScenarioNodes& group) {
  OptionTable table;
  table.add("count", group.count, "machines of this kind").range(1, static_cast<double>(nodes_max));
  table.add("region", group.region, "one of those that `links.wan` names; only with that")
      .default_text("required with `links.wan`");
  table
      .add("layer_forward_ms", group.layer_forward_ms,
           "forward of one microbatch through one layer, milliseconds")
      .required()
      .above(0)
      .range(0, ms_max);
  table.add("layer_backward_ms", group.layer_backward_ms, "its backward")
      .above(0)
      .range(0, ms_max)
      .default_text("twice the forward");
  table.add("head_ms", group.head_ms, "norm, head, loss and their backward")
      .above(0)
      .range(0, ms_max)
      .default_text("as the forward");
  table
      .add("spread", group.spread,
           "each machine is up to this share slower, drawn evenly: with 1, up to twice as slow")
      .range(0, 100);
  table.add("task_spread", group.task_spread, "each task takes up to this share more or less, drawn evenly")
      .range(0, 1);
  table
      .add("memory_gb_s", group.memory_gb_s,
           "what averages, updates and copies read or write of its memory, 10^9 bytes a second")
      .above(0)
      .range(0, 1e6);
  table.add("memory_gib", group.memory_gib, "that the daemon may use, GiB").above(0).range(0, 1e6);
  table.add("has_data", group.has_data, "whether these can be origins");
  table.add("later", group.later,
            "not there at the start: they come by `start` events or `churn`; such groups are last");
  return table;
}

OptionTable event_table(ScenarioEvent& event) {
  OptionTable table;
  table.add("at_s", event.at_s, "when, seconds from the job's first step").required().range(0, seconds_max);
  table.add("kind", event.kind, "what happens").required().one_of(kind_names());
  table.add("node", event.node, "to which node; the first is 1")
      .range(1, static_cast<double>(nodes_max))
      .default_text("required but for `restart_scheduler`");
  table.add("peer", event.peer, "`cut`: from which other node")
      .range(1, static_cast<double>(nodes_max))
      .default_text("the scheduler");
  table.add("for_s", event.for_s, "how long `pause`, `cut` and `restart_scheduler` last, seconds")
      .above(0)
      .range(0, seconds_max)
      .default_text("required for these");
  table.add("factor", event.factor, "`slow`: tasks take so many times as long from then on")
      .above(0)
      .range(0, 1e3)
      .default_text("required for it");
  return table;
}

// A file's path or what would be in it.
scheduler::OwnField file_or_object(Json& into) {
  return {.type = "a file, from this one's folder, or an object",
          .current = [&into] { return into; },
          .assign = [&into](const Json& value) -> std::string {
            if (!value.is_string() && !value.is_object())
              return "must be a file or an object, found " + scheduler::describe(value);
            into = value;
            return {};
          }};
}

// What is read before it is understood.
struct Given {
  Json note, job, wan;
};

OptionTable scenario_table(Scenario& scenario, Given& given) {
  OptionTable table;
  table.add_own("note",
                {.type = "anything",
                 .current = [&given] { return given.note; },
                 .assign = [](const Json&) { return std::string(); }},
                "for people; ignored");
  table.add_own("job", file_or_object(given.job), "as for `sidestep submit`; its data is not read")
      .required();
  table
      .add_list("nodes", scenario.nodes, node_table,
                "the machines; nodes are numbered from 1, group by group: node-1, node-2, ...")
      .required();
  table.add("links.latency_ms", scenario.links.latency_ms, "between any two, one way, milliseconds")
      .range(0, ms_max);
  table.add("links.bandwidth_mbit_s", scenario.links.bandwidth_mbit_s, "megabits a second, each way")
      .above(0)
      .range(0, 1e9);
  table.add_own("links.wan", file_or_object(given.wan),
                "instead of these two: a table of links between regions, as configs/instances/wan.json");
  table
      .add("links.jitter_ms", scenario.links.jitter_ms,
           "a message takes up to this much longer, drawn evenly, where its link does not say")
      .range(0, ms_max);
  table
      .add("links.loss", scenario.links.loss,
           "share of the messages that never arrive, where their link does not say")
      .range(0, 0.99);
  table.add_list("events", scenario.events, event_table, "what happens, in any order");
  table
      .add("churn.every_s", scenario.churn.every_s,
           "so often a node that is there is killed, drawn by the seed, seconds; 0: never")
      .range(0, seconds_max);
  table
      .add("churn.another_after_s", scenario.churn.another_after_s,
           "and so much later another comes: one that comes later, else who is gone for longest; 0: none")
      .range(0, seconds_max);
  table
      .add("churn.vanish_share", scenario.churn.vanish_share,
           "share of these that vanish with their machine: they are only silent")
      .range(0, 1);
  table
      .add("duration_s", scenario.duration_s,
           "simulated at most, from the first step; the job's last step ends it before")
      .above(0)
      .range(0, seconds_max);
  table.add("seed", scenario.seed, "of everything that is drawn; `--seed` goes before")
      .range(0, 9007199254740992.0);
  table.add("planning_work", scenario.planning_work, "`planning.work` of the scheduler's config")
      .range(1'000, 1e9);
  return table;
}

std::string place(const char* list, std::size_t index) {
  return std::string(list) + "[" + std::to_string(index) + "].";
}

void check_event(const ScenarioEvent& event, const std::string& at, std::int64_t nodes, Problems& problems) {
  const sim::EventForm* form = sim::find_event_form(event.kind);
  if (form == nullptr) return;
  const auto check = [&](const char* key, bool there, bool wanted, bool needed) {
    if (there && !wanted) problems.add_key(key, "means nothing for \"" + event.kind + "\"");
    if (!there && needed && problems.sound({at + key}))
      problems.add_missing(key, "\"" + event.kind + "\" needs it");
  };
  check("node", event.node != 0, form->node, form->node);
  check("peer", event.peer != 0, form->peer, false);
  check("for_s", event.for_s != 0, form->for_s, form->for_s);
  check("factor", event.factor != 0, form->factor, form->factor);
  const auto check_node = [&](const char* key, std::int64_t node) {
    if (node > nodes)
      problems.add_key(key, "value " + std::to_string(node) + " is too large, there are " +
                                std::to_string(nodes) + " nodes");
  };
  check_node("node", event.node);
  check_node("peer", event.peer);
  if (event.peer != 0 && event.peer == event.node) problems.add_key("peer", "is the node itself");
}

void check_group(const Scenario& scenario, const ScenarioNodes& group, Problems& problems) {
  if (!scenario.wan) {
    if (!group.region.empty()) problems.add_key("region", "means nothing without \"links.wan\"");
    return;
  }
  const auto& regions = scenario.wan->regions;
  if (group.region.empty()) return problems.add_missing("region", "\"links.wan\" needs it");
  if (std::ranges::find(regions, group.region) != regions.end()) return;
  const std::string near = scheduler::nearest(group.region, regions);
  problems.add_key("region", "no region \"" + group.region + "\"" +
                                 (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
}

void check(const Scenario& scenario, Problems& problems) {
  if (!problems.sound({"nodes"})) return;
  const auto nodes = static_cast<std::int64_t>(scenario.node_count());
  if (nodes == 0 || nodes > nodes_max)
    problems.add_key("nodes",
                     std::to_string(nodes) + " nodes, 1 to " + std::to_string(nodes_max) + " allowed");
  // Where something was wrong, there may be another number of nodes.
  const std::int64_t known = problems.empty() ? nodes : nodes_max;
  for (std::size_t i = 0; i < scenario.nodes.size(); ++i)
    problems.within(place("nodes", i), [&] {
      check_group(scenario, scenario.nodes[i], problems);
      if (i > 0 && scenario.nodes[i - 1].later && !scenario.nodes[i].later)
        problems.add_key("later", "groups that come later are last");
    });
  for (std::size_t i = 0; i < scenario.events.size(); ++i)
    problems.within(place("events", i),
                    [&] { check_event(scenario.events[i], place("events", i), known, problems); });
}

// Of a file that the scenario names, or of an object in it.
template <class Value>
Result<Value> named(const std::string& path, const char* key, const Json& given,
                    Result<Value> (*load)(const std::string& path),
                    Result<Value> (*parse)(const Json& json, const std::string& source)) {
  return given.is_string() ? load(driver::beside(path, given.get<std::string>()))
                           : parse(given, path + ": " + key);
}

Status together(const Problems& problems, const std::vector<Status>& others) {
  std::string text = problems.status().message();
  for (const Status& other : others)
    if (!other.ok()) text += (text.empty() ? "" : "\n") + other.message();
  return text.empty() ? Status() : Status::invalid(text);
}

}  // namespace

Result<Scenario> load_scenario(const std::string& path) {
  const auto json = scheduler::load_json_file(path);
  if (!json.ok()) return json.status();
  Scenario scenario;
  Given given;
  Problems problems(path);
  scenario_table(scenario, given).read(json.value(), problems);
  std::vector<Status> others;
  if (!given.job.is_null()) {
    auto job = named(path, "job", given.job, scheduler::load_job, scheduler::parse_job);
    others.push_back(job.status());
    if (job.ok()) scenario.job = std::move(job).value();
  }
  if (!given.wan.is_null()) {
    auto wan = named(path, "links.wan", given.wan, scheduler::load_wan, scheduler::parse_wan);
    others.push_back(wan.status());
    if (wan.ok()) scenario.wan = std::move(wan).value();
    for (const char* key : {"links.latency_ms", "links.bandwidth_mbit_s"})
      if (OptionTable::has(json.value(), key)) problems.add_key(key, "means nothing beside \"links.wan\"");
  }
  // What depends on a table that could not be read would only repeat that.
  if (std::ranges::all_of(others, &Status::ok)) check(scenario, problems);
  if (Status status = together(problems, others); !status.ok()) return status;
  scenario.job_json = to_json(scenario.job);
  return scenario;
}

std::string scenario_keys_markdown() {
  Scenario scenario;
  Given given;
  return scenario_table(scenario, given).markdown();
}

}  // namespace sidestep::cli

// What `sidestep simulate` runs: a job, the machines and links that it runs on, and what happens meanwhile.
// Values; read from JSON by daemon/cli/scenario_file.h, which documents each key. Nodes are numbered from 1,
// group by group, as in their nicknames ("node-7"). Time 0 is the job's first step.
#pragma once

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler/job.h"
#include "scheduler/planner/wan.h"

namespace sidestep::sim {

// Machines of one kind. Times are those of one microbatch of the job.
struct ScenarioNodes {
  std::int64_t count = 1;
  std::string region = {};       // empty: the scenario has none
  double layer_forward_ms = 0;   // of one layer
  double layer_backward_ms = 0;  // 0: twice the forward
  double head_ms = 0;            // norm, head, loss and their backward; 0: as the forward of a layer
  double spread = 0;             // each machine is up to this much slower, drawn evenly
  double task_spread = 0.05;     // each task takes up to this much more or less, drawn evenly
  double memory_gb_s = 20;       // bytes that averages, updates and copies read or write, 10^9 a second
  double memory_gib = 1024;      // that the daemon may use
  bool has_data = true;          // can be an origin
  bool later = false;            // not there at the start
};

struct ScenarioLinks {
  double latency_ms = 1;  // one way
  double bandwidth_mbit_s = 1'000;
  double jitter_ms = 0;  // a message takes up to this much longer, drawn evenly
  double loss = 0;       // share of the messages that never arrive
};

enum class EventKind : std::uint8_t { kill, vanish, start, drain, pause, cut, slow, restart_scheduler };

// Its name in a scenario, and which keys it takes beside its time.
struct EventForm {
  EventKind kind;
  std::string_view name;
  bool node = true, for_s = false, peer = false, factor = false;
};
inline constexpr EventForm event_forms[] = {
    {EventKind::kill, "kill"},
    {EventKind::vanish, "vanish"},
    {EventKind::start, "start"},
    {EventKind::drain, "drain"},
    {.kind = EventKind::pause, .name = "pause", .for_s = true},
    {.kind = EventKind::cut, .name = "cut", .for_s = true, .peer = true},
    {.kind = EventKind::slow, .name = "slow", .factor = true},
    {.kind = EventKind::restart_scheduler, .name = "restart_scheduler", .node = false, .for_s = true},
};
// Null where there is none of that name.
constexpr const EventForm* find_event_form(std::string_view name) {
  const auto* form = std::ranges::find(event_forms, name, &EventForm::name);
  return form == std::ranges::end(event_forms) ? nullptr : form;
}

struct ScenarioEvent {
  double at_s = 0;
  std::string kind = {};  // of event_forms
  std::int64_t node = 0;  // 0: of no node
  std::int64_t peer = 0;  // cut: the other end; 0: the scheduler
  double for_s = 0;
  double factor = 0;  // slow: tasks take so many times as long from then on
};

// A spot market: one machine goes, drawn among those that are there, and later another comes.
struct ScenarioChurn {
  double every_s = 0;          // 0: no churn
  double another_after_s = 0;  // 0: no other comes
  double vanish_share = 0;     // of those that go: the machine is only silent, its connections stay open
};

struct Scenario {
  nlohmann::json job_json;  // as it is submitted
  scheduler::JobSpec job;
  std::vector<ScenarioNodes> nodes;  // those that come later are last
  ScenarioLinks links;
  std::optional<scheduler::WanTable> wan;  // between regions, in place of `links` but for jitter and loss
  std::vector<ScenarioEvent> events;
  ScenarioChurn churn;
  double duration_s = 600;  // simulated at most, from time 0
  std::uint64_t seed = 1;
  std::uint64_t planning_work = 8'000'000;  // PlacementRequest::work

  std::size_t node_count() const {
    std::size_t count = 0;
    for (const ScenarioNodes& group : nodes) count += static_cast<std::size_t>(group.count);
    return count;
  }
};

}  // namespace sidestep::sim

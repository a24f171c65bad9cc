// `status` and `times`: what operators see of a job, its plan and what its steps take.
#include <algorithm>
#include <map>
#include <set>

#include "scheduler/plan_model.h"
#include "scheduler/scheduler_state.h"
#include "scheduler/step_report.h"

namespace sidestep::scheduler {
namespace {

nlohmann::json seconds(std::int64_t us) {
  return us > 0 ? nlohmann::json(static_cast<double>(us) / 1e6) : nlohmann::json();
}

std::uint64_t step_under_way(const JobRow& job) { return job.commit.value_or(0) + 1; }

}  // namespace

Result<nlohmann::json> SchedulerCore::State::status(const nlohmann::json& body) {
  nlohmann::json job;
  if (body.contains("job")) {
    const Result<JobRow*> found = wanted_job(body);
    if (!found.ok()) return found.status();
    job = summary(*found.value());
  } else if (active) {
    job = summary(row(active->id));
  } else if (!jobs.empty()) {
    job = summary(jobs.rbegin()->second);
  }
  const bool shown = active && job.is_object() && job.at("id") == active->id;
  if (shown) add_measured(job);
  nlohmann::json answer{{"job", std::move(job)},
                        {"nodes", nodes_json()},
                        {"term", term},
                        {"view", view.number},
                        {"waiting", waiting_for()}};
  if (shown && body.contains("plan") && body.at("plan") == true) {
    answer["routes"] = routes_json();
    answer["links"] = links_json();
    answer["measured"] = measured_json();
  }
  return answer;
}

Result<nlohmann::json> SchedulerCore::State::times(const nlohmann::json& body) {
  const JobRow* job = active ? find_row(active->id) : nullptr;
  if (body.contains("job")) {
    const Result<JobRow*> found = wanted_job(body);
    if (!found.ok()) return found.status();
    job = found.value();
  }
  if (job == nullptr) return Status::not_found("no job runs, so no step is timed");
  if (!active || active->id != job->id)
    return Status::not_found("job \"" + job->id + "\" is " + std::string(to_string(job->state)) +
                             "; the times of steps are there while a job runs");
  const std::optional<StepSet>& set = active->step_sets.last();
  if (!set || set->epoch != active->plan.epoch)
    return Status::not_found(
        "job \"" + job->id + "\": no step of plan " + std::to_string(active->plan.epoch) +
        " has been timed so far; one is about every two seconds, from its third step on");
  const std::vector<PlacementNode> list = nodes_of_plan();
  nlohmann::json report = step_report(*set, model_of(active->spec, active->plan, set->step, list), list);
  report["job"] = job->id;
  add_measured(report);
  return report;
}

void SchedulerCore::State::add_measured(nlohmann::json& summary) const {
  if (active->plan.phases.empty()) return;  // there is no plan yet
  const PlanPhase& phase = active->plan.phase(step_under_way(*find_row(active->id)));
  summary["predicted_step_s"] = seconds(phase.predicted_step_us);
  summary["measured_step_s"] = seconds(active->step_watch.median_us().value_or(0));
  summary["drifted"] = has_drifted();
}

nlohmann::json SchedulerCore::State::measured_json() const {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [key, measured] : active->measured) {
    if (!active->plan.stages_of.contains(key)) continue;
    nlohmann::json stages = nlohmann::json::array();
    for (const net::StageSpeed& stage : measured.stages)
      stages.push_back(
          {{"stage", stage.stage}, {"forward_us", stage.forward_us}, {"backward_us", stage.backward_us}});
    list.push_back({{"node", key.hex()},
                    {"stages", std::move(stages)},
                    {"head_us", measured.head_us},
                    {"averaging_bytes_per_s", measured.averaging_bytes_per_s}});
  }
  return list;
}

std::string SchedulerCore::State::at_most(std::int64_t until_us) const {
  return ", at most " + std::to_string(std::max<std::int64_t>(0, until_us - now_us) / 1'000'000) + " s more";
}

std::string SchedulerCore::State::waiting_while_running() const {
  const JobRow& job = *find_row(active->id);
  std::string silent, unsaved;
  for (const net::Member& member : job.view.members) {
    if (!takes_part(member)) continue;
    const Node& node = nodes.at(member.key);
    if (const std::int64_t silent_us = now_us - node.heard_us; silent_us > silent_shown_us)
      silent += (silent.empty() ? "" : ", ") + member.nickname + ", silent for " +
                std::to_string(silent_us / 1000) + " ms of " + std::to_string(options.silent_dead_us / 1000);
    const bool applied = node.progress && node.progress->job == job.id && node.progress->step >= *job.commit;
    if (!applied) unsaved += (unsaved.empty() ? "" : ", ") + member.nickname;
  }
  if (!silent.empty()) return "a word from " + silent;
  if (!committed_all() || unsaved.empty() || !active->finish_deadline_us) return "";
  return "the last commit to be applied by " + unsaved + at_most(*active->finish_deadline_us);
}

nlohmann::json SchedulerCore::State::routes_json() const {
  nlohmann::json list = nlohmann::json::array();
  if (!active || active->plan.phases.empty()) return list;
  std::map<nlohmann::json, std::size_t> places;  // by hops
  for (const PlannedRoute& route : active->plan.phase(step_under_way(*find_row(active->id))).routes) {
    nlohmann::json hops = nlohmann::json::array();
    for (const net::Hop& hop : route.hops) hops.push_back({hop.stage, hop.node.hex()});
    const auto [known, first] = places.emplace(hops, list.size());
    if (first) list.push_back({{"microbatches", nlohmann::json::array()}, {"hops", std::move(hops)}});
    list[known->second]["microbatches"].push_back(route.microbatch);
  }
  return list;
}

nlohmann::json SchedulerCore::State::links_json() const {
  nlohmann::json list = nlohmann::json::array();
  if (!active || active->plan.phases.empty()) return list;
  const std::uint64_t step = step_under_way(*find_row(active->id));
  const std::vector<PlacementNode> known = nodes_of_plan();
  const PlanModel model = model_of(active->spec, active->plan, step, known);
  std::set<std::pair<std::uint32_t, std::uint32_t>> ways;
  for (const Path& path : model.plan.paths)
    for (std::size_t i = 0; i < path.hops.size(); ++i) {
      const std::uint32_t here = path.hops[i].node, next = path.hops[(i + 1) % path.hops.size()].node;
      if (here == next) continue;
      ways.emplace(here, next);
      ways.emplace(next, here);
    }
  for (const auto& [from, to] : ways) {
    const std::size_t pair = from * model.instance.node_count() + to;
    list.push_back({{"from", known[from].key.hex()},
                    {"to", known[to].key.hex()},
                    {"latency_us", model.instance.latency_us[pair]},
                    {"bytes_per_s", model.instance.bandwidth[pair]},
                    {"transfer_us", model.instance.transfer_us[pair]}});
  }
  return list;
}

}  // namespace sidestep::scheduler

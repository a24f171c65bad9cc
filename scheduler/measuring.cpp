// What a running job's tasks and ways take: nodes tell, plans are made by it, and steps are compared with
// what their plan predicted.
#include <algorithm>
#include <cmath>

#include "scheduler/plan_model.h"
#include "scheduler/planner/instance.h"
#include "scheduler/scheduler_state.h"

namespace sidestep::scheduler {
namespace {

bool is_time(std::int64_t us) { return us >= 0 && us <= Instance::time_us_max; }

bool is_speed(double bytes_per_s) { return std::isfinite(bytes_per_s) && bytes_per_s >= 0; }

// Why a peer that holds these stages cannot mean this; empty: it can.
std::string objection_to(const net::Measured& measured, const std::vector<std::uint32_t>& held,
                         std::size_t nodes) {
  if (measured.stages.size() > held.size()) return "more stages than it holds";
  for (const net::StageSpeed& stage : measured.stages) {
    if (!has_stage(held, stage.stage))
      return "stage " + std::to_string(stage.stage) + ", which it does not hold";
    if (!is_time(stage.forward_us) || !is_time(stage.backward_us)) return "a time that cannot be";
  }
  if (!is_time(measured.head_us)) return "a time that cannot be";
  if (!is_speed(measured.averaging_bytes_per_s)) return "a speed that cannot be";
  if (measured.links.size() > nodes) return "more links than there are nodes";
  for (const net::LinkSpeed& link : measured.links)
    if (!is_time(link.latency_us) || !is_speed(link.bytes_per_s)) return "a link that cannot be";
  return {};
}

std::string objection_to(const net::StepTimes& times, const std::vector<std::uint32_t>& held) {
  if (times.tasks.size() > net::step_tasks_max)
    return "more than " + std::to_string(net::step_tasks_max) + " tasks";
  for (const net::StepTask& task : times.tasks) {
    if (!has_stage(held, task.stage))
      return "stage " + std::to_string(task.stage) + ", which it does not hold";
    const bool in_order =
        0 <= task.ready_us && task.ready_us <= task.begin_us && task.begin_us <= task.end_us;
    if (!in_order || task.end_us > Instance::step_us_max) return "a task's times, which cannot be";
  }
  if (times.averages.size() > held.size()) return "more averages than it holds stages";
  for (const net::StepAverage& average : times.averages) {
    if (!has_stage(held, average.stage))
      return "stage " + std::to_string(average.stage) + ", which it does not hold";
    if (average.begin_us < 0 || average.begin_us > average.end_us || average.end_us > Instance::step_us_max)
      return "an average's times, which cannot be";
  }
  if (times.commit_us < 0 || times.commit_us > Instance::step_us_max) return "a Commit's time that cannot be";
  return {};
}

// Of a node's own tasks; layers take alike, so any stage with layers tells.
void take_tasks(const JobSpec& job, const net::Measured& measured, PlacementNode& node) {
  for (const net::StageSpeed& stage : measured.stages) {
    const std::int64_t layers = job.layer_count(stage.stage);
    if (layers == 0 || stage.forward_us == 0 || stage.backward_us == 0) continue;
    node.layer_forward_us = std::max<std::int64_t>(1, stage.forward_us / layers);
    node.layer_us = std::max<std::int64_t>(2, (stage.forward_us + stage.backward_us) / layers);
  }
  if (measured.head_us > 0) node.head_us = measured.head_us;
}

void take_links(const net::Measured& measured, PlacementNode& node) {
  for (const net::LinkSpeed& link : measured.links) {
    const auto known =
        std::ranges::find_if(node.links, [&](const auto& one) { return one.node == link.node; });
    if (known == node.links.end())
      node.links.push_back(link);
    else
      *known = link;
  }
}

// Those that told nothing get what the others have on average; where nobody told, all count alike.
void fill_in(std::vector<PlacementNode>& list, std::int64_t PlacementNode::*figure) {
  std::int64_t sum = 0, count = 0;
  for (const PlacementNode& node : list) {
    if (node.*figure <= 0) continue;
    sum += std::min(node.*figure, Instance::time_us_max);
    ++count;
  }
  for (PlacementNode& node : list)
    if (node.*figure <= 0) node.*figure = count == 0 ? 1 : std::max<std::int64_t>(1, sum / count);
}

}  // namespace

const SchedulerCore::State::Node* SchedulerCore::State::teller(const net::NodeKey& peer,
                                                               const net::Envelope& envelope,
                                                               const net::Scope& scope,
                                                               const std::string& objection) {
  const Node* node = sender(peer, envelope);
  if (node == nullptr) return nullptr;
  if (!active || active->id != scope.job || scope.epoch != active->plan.epoch) return nullptr;  // late
  if (!takes_part(node->member)) return nullptr;
  if (objection.empty()) return node;
  log(net::LogLevel::debug, active->id,
      "dropped " + std::string(net::name_of(envelope.message)) + " from " + label(node->member) +
          ": it tells " + objection);
  return nullptr;
}

void SchedulerCore::State::on(const net::NodeKey& peer, const net::Envelope& envelope,
                              const net::Measured& measured) {
  if (!active || !active->plan.stages_of.contains(peer)) return;
  const std::string objection = objection_to(measured, active->plan.stages_of.at(peer), nodes.size());
  if (teller(peer, envelope, measured.scope, objection) != nullptr) active->measured[peer] = measured;
}

void SchedulerCore::State::on(const net::NodeKey& peer, const net::Envelope& envelope,
                              const net::StepTimes& times) {
  if (!active || !active->plan.stages_of.contains(peer)) return;
  const std::string objection = objection_to(times, active->plan.stages_of.at(peer));
  if (teller(peer, envelope, times.scope, objection) != nullptr)
    active->step_sets.add(peer, times, active->plan.stages_of.size());
}

void SchedulerCore::State::add_figures(std::vector<PlacementNode>& list) const {
  for (PlacementNode& node : list) {
    node.memory_bytes = PlacementNode::unknown_bytes;
    if (const auto answer = active->answers.find(node.key);
        answer != active->answers.end() && answer->second) {
      node.memory_bytes = answer->second->memory_bytes;
      node.daemon_bytes = answer->second->daemon_bytes;
      node.layer_us = answer->second->layer_us;
      node.head_us = answer->second->head_us;
      node.links = answer->second->links;
    }
    if (const auto measured = active->measured.find(node.key); measured != active->measured.end()) {
      take_tasks(active->spec, measured->second, node);
      take_links(measured->second, node);
    }
  }
  fill_in(list, &PlacementNode::layer_us);
  fill_in(list, &PlacementNode::head_us);
}

std::uint64_t SchedulerCore::State::times_every(const JobRow* job) const {
  return job != nullptr && active && active->id == job->id ? active->step_watch.times_every() : 0;
}

// Plans know nothing of validation, so steps with it are not compared.
void SchedulerCore::State::watch_step(const RecordStep& step) {
  if (step.step == 0 || !step.loss || !step.evaluations.empty()) return;
  const std::int64_t predicted_us = active->plan.phase(step.step).predicted_step_us;
  active->step_watch.add({step.epoch, step.duration_us, predicted_us});
  if (!active->step_watch.drifts_now()) return;
  const std::int64_t took_us = *active->step_watch.median_us();
  const double apart = static_cast<double>(took_us) / static_cast<double>(predicted_us) - 1;
  const std::vector<PlacementNode> list = nodes_of_plan();
  log(net::LogLevel::info, active->id,
      "steps take " + milliseconds(took_us) + ", " + std::to_string(std::lround(100 * std::abs(apart))) +
          (apart > 0 ? " % more than the " : " % less than the ") + milliseconds(predicted_us) +
          " that plan " + std::to_string(active->plan.epoch) +
          " was predicted to take; by what is measured now, " +
          slowest_text(model_of(active->spec, active->plan, step.step, list), list));
}

std::vector<PlacementNode> SchedulerCore::State::nodes_of_plan() const {
  std::vector<PlacementNode> list;
  for (const auto& [key, stages] : active->plan.stages_of) {
    PlacementNode& node = list.emplace_back();
    node.key = key;
    const auto known = nodes.find(key);
    node.nickname = known == nodes.end() ? key.short_name() : known->second.member.nickname;
    node.has_data = active->plan.holds(key, 0);
  }
  add_figures(list);
  return list;
}

}  // namespace sidestep::scheduler

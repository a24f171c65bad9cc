#include "daemon/simulator/swarm_watch.h"

#include <algorithm>
#include <cstdio>
#include <iterator>

#include "daemon/core/job_run.h"
#include "scheduler/plan_model.h"

namespace sidestep::sim {

using namespace sidestep::daemon;

namespace {

template <class Kind, std::size_t Place = 0>
constexpr std::size_t kind_of() {
  if constexpr (std::is_same_v<std::variant_alternative_t<Place, Task>, Kind>)
    return Place;
  else
    return kind_of<Kind, Place + 1>();
}

template <class... Kinds>
bool is_one_of(std::size_t kind) {
  return ((kind == kind_of<Kinds>()) || ...);
}

// An update is part of the training that it keeps.
Work work_of(std::size_t kind) {
  if (is_one_of<Forward, Head, Backward, Update>(kind)) return Work::training;
  if (is_one_of<ExposeGradient, Reduce, StoreAverage, MeasureAverage>(kind)) return Work::averaging;
  return Work::other;
}

std::string of_microbatch(const char* what, std::uint32_t stage, std::uint32_t microbatch) {
  return std::string(what) + " stage " + std::to_string(stage) + " microbatch " + std::to_string(microbatch);
}

std::string of_stage(const char* what, std::uint32_t stage) {
  return std::string(what) + " stage " + std::to_string(stage);
}

struct TaskText {
  std::string operator()(const Forward& task) const {
    return of_microbatch(task.evaluation ? "validation" : "forward", task.stage, task.microbatch);
  }
  std::string operator()(const Head& task) const { return of_microbatch("head", 0, task.microbatch); }
  std::string operator()(const Backward& task) const {
    return of_microbatch("backward", task.stage, task.microbatch);
  }
  std::string operator()(const Update& task) const { return "update of step " + std::to_string(task.step); }
  std::string operator()(const AbandonStep& task) const {
    return "step " + std::to_string(task.step) + " begins anew";
  }
  std::string operator()(const MeasureAverage& task) const {
    return of_stage("average complete", task.stage);
  }
  std::string operator()(const CopyState& task) const { return of_stage("copy", task.stage); }
  std::string operator()(const FinishState& task) const { return of_stage("loaded", task.stage); }
  std::string operator()(const CatchUp& task) const { return of_stage("catches up", task.stage); }
  std::string operator()(const SaveSnapshot& task) const { return of_stage("snapshot", task.stage); }
  // One for each chunk or slice, or of no weight.
  template <class Other>
  std::string operator()(const Other&) const {
    return {};
  }
};

}  // namespace

void SwarmWatch::follow(std::string job, std::uint64_t last_step) {
  job_ = std::move(job);
  last_step_ = last_step;
}

void SwarmWatch::write(Us now, const std::string& who, const std::string& what) const {
  if (!trace_ || !begin_us_) return;
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%.6f ", static_cast<double>(now - *begin_us_) / 1e6);
  trace_(seconds + who + " " + what);
}

void SwarmWatch::note(Us now, const std::string& who, const std::string& what) {
  write(now, who, what);
  if (begin_us_ && !end_us_) notes_.push_back({now - *begin_us_, who, what});
}

// ---- nodes

void SwarmWatch::on_started(Us now, Node node) {
  running_.erase(node);
  write(now, cluster_->nickname(node), "begins");
}

void SwarmWatch::on_ended(Us now, Node node) {
  running_.erase(node);
  write(now, cluster_->nickname(node), "has ended");
  if (!end_us_) split_.on_death(now, node);
}

void SwarmWatch::on_paused(Us now, Node node) {
  if (!end_us_) split_.on_silent(now, node);
}

void SwarmWatch::on_resumed(Us now, Node node) {
  if (!end_us_) split_.on_heard(now, node);
}

void SwarmWatch::on_task_begun(Us now, Node node, const Task& task) {
  running_[node] = task.index();
  if (!end_us_) split_.on_begin(now, node, work_of(task.index()));
  if (!trace_ || !begin_us_) return;
  if (const std::string text = std::visit(TaskText(), task); !text.empty())
    write(now, cluster_->nickname(node), text);
}

void SwarmWatch::on_task_ended(Us now, Node node) {
  const auto running = running_.extract(node);
  if (end_us_ || !running) return;
  split_.on_end(now, node);
  if (is_one_of<Update>(running.mapped())) split_.on_update(now, node);
  if (is_one_of<AbandonStep>(running.mapped())) split_.on_abandon(now, node);
}

// Work waits for what is about a step; answers to heartbeats, copies for newcomers and probes are on their
// way all the time.
void SwarmWatch::on_sent(Us now, const net::SimPacket& packet, Us arrival) {
  if (!begin_us_ || end_us_ || packet.channel != net::Channel::data) return;
  if (scope_of(packet.envelope.message) == nullptr) return;
  if (const auto node = cluster_->find_node(packet.to)) split_.on_sent(now, *node, arrival);
}

// ---- the scheduler

void SwarmWatch::on_stored(Us now, const scheduler::StoreChange& change) {
  if (const auto* view = std::get_if<scheduler::PutView>(&change)) take_view(now, view->view);
  if (const auto* job = std::get_if<scheduler::PutJob>(&change); job != nullptr && job->row.id == job_)
    take_job(now, job->row);
  if (const auto* record = std::get_if<scheduler::AppendRecord>(&change);
      record != nullptr && record->job == job_)
    take_record(now, *record);
}

void SwarmWatch::take_view(Us now, const net::View& view) {
  std::set<std::size_t> members;
  for (const net::Member& member : view.members) members.insert(cluster_->node_of(member.key));
  if (!end_us_)
    for (const std::size_t node : members_)
      if (!members.contains(node)) split_.on_declared(now, node);
  members_ = std::move(members);
}

void SwarmWatch::take_job(Us now, const scheduler::JobRow& row) {
  if (row.state != scheduler::JobState::running || end_us_) return;
  if (!begin_us_) begin_us_ = now;
  if (plans_.empty() || row.plan.at("epoch").get<std::uint64_t>() != plans_.back().epoch) take_plan(now, row);
}

void SwarmWatch::take_plan(Us now, const scheduler::JobRow& row) {
  const Result<scheduler::Plan> parsed = scheduler::parse_plan(row.plan);
  SIDESTEP_ASSERT(parsed.ok());
  const scheduler::Plan& plan = parsed.value();
  std::set<std::size_t> holders;
  for (const auto& [key, stages] : plan.stages_of)
    if (const std::size_t node = cluster_->node_of(key); cluster_->alive(node)) holders.insert(node);
  split_.on_plan(now, holders);
  // A task that began before its node counted, as the first ones of a job.
  for (const std::size_t node : holders)
    if (const auto running = running_.find(node); running != running_.end() && !holders_.contains(node))
      split_.on_begin(now, node, work_of(running->second));
  holders_ = std::move(holders);
  const std::int64_t predicted_us = plan.phase(row.commit.value_or(0) + 1).predicted_step_us;
  plans_.push_back({plan.epoch, now - *begin_us_, plan.stages_of.size(), predicted_us, {}});
  note(now, "scheduler",
       "plan " + std::to_string(plan.epoch) + " on " + std::to_string(plan.stages_of.size()) + " nodes" +
           (plan.learners.empty() ? "" : ", " + std::to_string(plan.learners.size()) + " learning a stage") +
           (predicted_us > 0 ? ", predicted step " + scheduler::milliseconds(predicted_us) : ""));
}

void SwarmWatch::take_record(Us now, const scheduler::AppendRecord& record) {
  if (record.step <= steps_ || record.step > last_step_ || end_us_) return;
  const auto epoch = record.record.at("epoch").get<std::uint64_t>();
  const auto took_us = record.record.at("duration_us").get<std::int64_t>();
  const auto plan = std::ranges::find(plans_, epoch, &SimPlan::epoch);
  if (plan != plans_.end()) plan->took_us.push_back(took_us);
  steps_ = record.step;
  tokens_ += record.record.at("tokens").get<std::uint64_t>();
  write(now, "scheduler",
        "step " + std::to_string(record.step) + " is committed, " + scheduler::milliseconds(took_us));
  if (record.step == last_step_) finish(now, Share::useful);
}

void SwarmWatch::on_line(Us now, const std::string& who, const net::LogLine& line) {
  if (line.level < net::LogLevel::info) return;
  if (who == "scheduler" && line.level >= net::LogLevel::warning)
    note(now, who, line.text);
  else
    write(now, who, line.text);
}

void SwarmWatch::finish(Us now, Share rest) {
  if (end_us_) return;
  end_us_ = now;
  split_.finish(now, rest);
}

}  // namespace sidestep::sim

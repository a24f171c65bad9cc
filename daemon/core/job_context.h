// What the parts of one job at one node (pipeline, averaging, ledger) know in common, and what they may
// do. JobRun owns the context and the parts; all of it is pure.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "daemon/core/chunk_cut.h"
#include "daemon/core/step_timer.h"
#include "daemon/core/task_desk.h"
#include "scheduler/job.h"
#include "scheduler/plan.h"
#include "scheduler/record.h"

namespace sidestep::daemon {

struct JobContext {
  const NodeOptions* options = nullptr;  // outlives the job
  std::string job;
  scheduler::JobSpec spec;
  scheduler::Plan plan;
  net::View view;
  std::uint64_t step = 0;  // being worked on; first_commit(): weights are being made

  std::vector<std::uint32_t> my_stages;
  net::NodeKey lead;
  StepTimer timer;  // of the step
  // Of stages that were rebuilt here, until a Commit has them in its record.
  std::map<std::uint32_t, scheduler::RecordRecovery> recoveries;

  // Sends a data message that is repeated until acknowledged; to this node itself: comes back as an event.
  std::function<void(std::int64_t now_us, const net::NodeKey& to, net::Message)> post;
  // Queues a task that goes before the pipeline's.
  std::function<void(Task, TaskDesk::Done)> queue_task;
  std::function<void(std::int64_t now_us, net::LogLevel, std::optional<std::uint32_t> stage,
                     std::string text)>
      log;
  // The job cannot go on because of this node.
  std::function<void(std::int64_t now_us, std::string reason)> fail;

  net::Scope scope() const { return scope_of(step); }
  net::Scope scope_of(std::uint64_t some_step) const { return {job, view.number, plan.epoch, some_step}; }
  // Every stage says that it has its weights, and no more.
  bool begins() const { return step == spec.first_commit(); }
  bool trains() const { return !begins() && step <= static_cast<std::uint64_t>(spec.steps); }
  // Validation microbatches of this step.
  std::uint32_t evaluations() const {
    return begins() ? 0 : static_cast<std::uint32_t>(spec.evaluations_in(static_cast<std::int64_t>(step)));
  }
  // Of the training microbatches of this step.
  const std::vector<scheduler::PlannedRoute>& routes() const {
    static const std::vector<scheduler::PlannedRoute> none;
    return trains() ? plan.phase(step).routes : none;
  }
  bool leads() const { return lead == options->key; }
  // How the plan's replicas cut the flat gradient of a stage.
  ChunkCut cut_of(std::uint32_t stage, std::uint64_t elements) const {
    std::vector<net::NodeKey> replicas = plan.replicas(stage);
    const bool travels = replicas.size() > 1 || !plan.learners_of(stage).empty();
    return ChunkCut(elements, std::move(replicas), travels, options->chunk_bytes);
  }
  // For the stage's report.
  nlohmann::json recovery_of(std::uint32_t stage) const {
    const auto found = recoveries.find(stage);
    return found == recoveries.end() ? nlohmann::json() : scheduler::to_json(found->second);
  }
  // "node-3 (b3f1)"
  std::string name_of(const net::NodeKey& node) const;
};

}  // namespace sidestep::daemon

// A job as one node's parts see it, with everything they post, queue and log written down.
#pragma once

#include <string>
#include <vector>

#include "daemon/core/job_context.h"

namespace sidestep::test {

struct JobFixture {
  struct Posted {
    net::NodeKey to;
    net::Message message;
  };
  struct Queued {
    daemon::Task task;
    daemon::TaskDesk::Done done;
  };

  // Nodes are numbered from 1; `holders[s]` lists the nodes of stage s. This one is `self`.
  JobFixture(int self, const std::vector<std::vector<int>>& holders, int microbatches,
             std::uint32_t slots = 3) {
    options.key = node(self);
    options.boot = 1;
    options.chunk_bytes = 16;
    context.options = &options;
    context.job = "job-1";
    context.spec.pipeline.stages = static_cast<std::int64_t>(holders.size());
    context.spec.pipeline.microbatches_per_step = microbatches;
    context.spec.pipeline.microbatch_size = 1;
    context.spec.data.sequence_length = 2;
    context.spec.model.hidden_size = 1;
    context.spec.steps = 10;
    context.plan.epoch = 1;
    for (std::uint32_t stage = 0; stage < holders.size(); ++stage)
      for (const int holder : holders[stage]) {
        context.plan.stages_of[node(holder)].push_back(stage);
        context.plan.slots_of[node(holder)] = slots;
      }
    context.plan.phases.resize(1);
    for (int m = 0; m < microbatches; ++m) {
      scheduler::PlannedRoute route;
      route.microbatch = static_cast<std::uint32_t>(m);
      for (std::uint32_t stage = 0; stage < holders.size(); ++stage) {
        const auto& of_stage = holders[stage];
        route.hops.push_back({stage, node(of_stage[static_cast<std::size_t>(m) % of_stage.size()])});
      }
      routes().push_back(route);
    }
    context.plan.evaluations = {routes().front()};
    context.view.number = 1;
    context.my_stages = context.plan.stages_of[options.key];
    context.lead = context.plan.lead_origin();
    context.step = 1;
    context.post = [this](std::int64_t, const net::NodeKey& to, net::Message message) {
      posted.push_back({to, std::move(message)});
    };
    context.queue_task = [this](daemon::Task task, daemon::TaskDesk::Done done) {
      queued.push_back({std::move(task), std::move(done)});
    };
    context.log = [this](std::int64_t, net::LogLevel, std::optional<std::uint32_t>, std::string text) {
      lines.push_back(std::move(text));
    };
    context.fail = [this](std::int64_t, const std::string& reason) { faults.push_back(reason); };
  }
  JobFixture(const JobFixture&) = delete;

  // Of every step.
  std::vector<scheduler::PlannedRoute>& routes() { return context.plan.phases.front().routes; }
  const std::vector<scheduler::PlannedRoute>& routes() const { return context.plan.phases.front().routes; }

  static net::NodeKey node(int number) {
    net::NodeKey key;
    key.bytes[0] = static_cast<std::uint8_t>(number);
    return key;
  }

  static net::Tensor floats(const std::vector<float>& values) {
    const auto* bytes = reinterpret_cast<const std::byte*>(values.data());
    return {net::DType::float32,
            {static_cast<std::int64_t>(values.size())},
            net::Payload::from_bytes({bytes, bytes + values.size() * sizeof(float)})};
  }

  net::Tensor activation() const {
    net::Tensor tensor = floats({1, 2});
    tensor.shape = {1, 2, 1};
    return tensor;
  }

  // A microbatch that arrives here at `hop` of its planned route.
  net::MicrobatchHop arrival(std::uint32_t microbatch, std::uint32_t hop, net::Direction direction) const {
    net::MicrobatchHop arriving;
    arriving.scope = context.scope();
    arriving.microbatch = microbatch;
    arriving.attempt = 1;
    arriving.direction = direction;
    arriving.hop = hop;
    arriving.route = routes()[microbatch].hops;
    arriving.tensor = activation();
    return arriving;
  }

  template <class T>
  std::vector<T> posts() const {
    std::vector<T> found;
    for (const Posted& post : posted)
      if (const T* message = std::get_if<T>(&post.message)) found.push_back(*message);
    return found;
  }

  daemon::NodeOptions options;
  daemon::JobContext context;
  std::vector<Posted> posted;
  std::vector<Queued> queued;
  std::vector<std::string> lines;
  std::vector<std::string> faults;
};

}  // namespace sidestep::test

#include "daemon/simulator/timed_runner.h"

#include <catch2/catch.hpp>

#include "scheduler/memory.h"

namespace sidestep::sim {
namespace {

using namespace sidestep::daemon;

scheduler::JobSpec job() {
  auto parsed = scheduler::parse_job(nlohmann::json::parse(R"({
      "name": "timed", "steps": 3,
      "model": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 6, "num_attention_heads": 2},
      "pipeline": {"stages": 2, "microbatches_per_step": 4, "microbatch_size": 2},
      "data": {"path": "text.txt", "sequence_length": 16},
      "optimizer": {"learning_rate": 0.001}})"),
                                     "test");
  REQUIRE(parsed.ok());
  return std::move(parsed).value();
}

TimedMachine machine() {
  TimedMachine machine;
  machine.layer_forward_us = 1'000;
  machine.layer_backward_us = 2'500;
  machine.head_us = 700;
  machine.memory_bytes_per_us = 1'000;
  machine.memory_bytes = 1 << 30;
  return machine;
}

Forward forward(std::uint32_t stage, std::uint32_t microbatch = 0, bool save = true) {
  return {stage, 1, microbatch, false, save, {}};
}

Backward backward(std::uint32_t stage, std::uint32_t microbatch = 0) {
  return {stage, 1, microbatch, true, {}};
}

struct Fixture {
  scheduler::JobSpec spec = job();
  std::shared_ptr<TimedMachine> figures = std::make_shared<TimedMachine>(machine());
  TimedRunner runner{figures, std::make_shared<Zeros>(spec), 1};

  Fixture() { run(InitJob{spec, {0, 1}, true}); }
  Completion run(const Task& task) {
    Completion done = runner.run(1, task);
    CHECK(done.fault.empty());
    CHECK(done.problem.empty());
    done.duration_us -= TimedRunner::task_us_min;
    return done;
  }
};

}  // namespace

TEST_CASE("Timed runner: tasks take their machine's times for the layers of their stage") {
  Fixture f;
  CHECK(f.run(forward(1)).duration_us == 3 * 1'000);
  CHECK(f.run(backward(1)).duration_us == 3 * 2'500);
  CHECK(f.run(Head{1, 0, false, true, {}}).duration_us == 700);
  const auto elements = static_cast<double>(scheduler::stage_parameters(f.spec, 1));
  CHECK(f.run(MeasureAverage{1}).duration_us == Approx(elements * 4 / 1'000).margin(1));
  CHECK(f.run(Update{1, {1}}).duration_us == Approx(7 * elements * 4 / 1'000).margin(1));
  f.figures->factor = 2;
  CHECK(f.run(forward(1)).duration_us == 6 * 1'000);
}

TEST_CASE("Timed runner: a forward that was not saved is computed again at its backward, once") {
  Fixture f;
  f.run(forward(1, 2, false));
  CHECK(f.run(backward(1, 2)).duration_us == 3 * 3'500);
  CHECK(f.run(backward(1, 2)).duration_us == 3 * 2'500);
  f.run(forward(1, 2, false));
  f.run(AbandonStep{1});
  CHECK(f.run(backward(1, 2)).duration_us == 3 * 2'500);
}

TEST_CASE("Timed runner: what it gives has the job's shapes") {
  Fixture f;
  const net::Tensor activation = f.run(forward(0)).tensor;
  CHECK(activation.shape == std::vector<std::int64_t>{2, 16, 64});
  CHECK(activation.payload.size() == f.spec.activation_bytes());
  CHECK(f.run(backward(0)).tensor.empty());
  const auto elements = scheduler::stage_parameters(f.spec, 0);
  CHECK(f.run(ExposeGradient{0}).tensor.payload.size() == elements * 4);
  const Completion copy = f.run(CopyState{0, false});
  REQUIRE(copy.state.size() == 3);
  CHECK(copy.state[0].payload.size() == elements * 4);
  CHECK(copy.digests == f.run(FinishState{0, 0, {}}).digests);
  CHECK(f.run(SaveSnapshot{"j", 1, 1, 0}).elements == scheduler::stage_parameters(f.spec, 1));
  CHECK(f.run(AddStage{1}).gradient_elements.size() == 1);
}

TEST_CASE("Timed runner: the probe tells what tasks take, and whether there is data") {
  Fixture f;
  f.figures->factor = 3;
  const Completion probe = f.run(ProbeJob{f.spec});
  CHECK(probe.layer_us == 3 * 3'500);
  CHECK(probe.head_us == 3 * 700);
  CHECK(probe.memory_bytes == 1 << 30);
  CHECK(probe.has_data);
  f.figures->has_data = false;
  const Completion without = f.run(ProbeJob{f.spec});
  CHECK_FALSE(without.has_data);
  CHECK_FALSE(without.data_problem.empty());
}

TEST_CASE("Timed runner: tasks vary within their spread, as the seed says") {
  Fixture f;
  f.figures->task_spread = 0.1;
  TimedRunner again(f.figures, std::make_shared<Zeros>(f.spec), 7),
      same(f.figures, std::make_shared<Zeros>(f.spec), 7);
  again.run(1, InitJob{f.spec, {0}, true});
  same.run(1, InitJob{f.spec, {0}, true});
  std::int64_t least = 1'000'000, most = 0;
  for (int i = 0; i < 200; ++i) {
    const std::int64_t us = again.run(1, forward(0)).duration_us;
    CHECK(us == same.run(1, forward(0)).duration_us);
    least = std::min(least, us);
    most = std::max(most, us);
  }
  CHECK(least >= 2'700);
  CHECK(least < 2'850);
  CHECK(most <= 3'300 + TimedRunner::task_us_min);
  CHECK(most > 3'150);
}

}  // namespace sidestep::sim

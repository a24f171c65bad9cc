// Losses in one process with real weights: what a stage becomes again, computed here once more.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <map>

#include "daemon/executor/torch_runner.h"
#include "daemon/solo/replay.h"
#include "daemon/solo/solo.h"
#include "tests/unit/data/temporary_folder.h"

namespace sidestep::daemon {
namespace {

using nlohmann::json;
using scheduler::RecordStep;

constexpr std::uint32_t stages_of_job = 6;
constexpr std::uint64_t lost_at = 8;

struct LossyRun {
  std::vector<RecordStep> steps;
  std::map<std::uint64_t, double> losses;
  // By stage, after the commit before the loss and after that of the step that was run with it again.
  std::map<std::uint32_t, Completion> before, after;
};

std::vector<float> values_of(const net::Tensor& tensor) {
  std::vector<float> values(tensor.payload.size() / sizeof(float));
  std::memcpy(values.data(), tensor.payload.data(), tensor.payload.size());
  return values;
}

class LossyFixture {
 public:
  LossyFixture() {
    std::string text;
    while (text.size() < 6'000) text += "the quick brown fox jumps over the lazy dog. ";
    testing::write_bytes(folder_.path("a.txt"), text);
  }

  scheduler::JobSpec job(const json& recovery, const json& failures) const {
    json spec = {{"name", "lossy"},
                 {"steps", 14},
                 {"precision", "float32"},
                 {"model",
                  {{"hidden_size", 16},
                   {"intermediate_size", 32},
                   {"num_hidden_layers", stages_of_job},
                   {"num_attention_heads", 2}}},
                 {"pipeline", {{"stages", stages_of_job}, {"microbatches_per_step", 4}, {"max_swaps", 2}}},
                 {"data", {{"path", folder_.path("a.txt")}, {"sequence_length", 16}}},
                 {"optimizer", {{"learning_rate", 0.01}, {"schedule", "constant"}}},
                 {"validation", {{"every", 5}, {"microbatches", 2}}},
                 {"recovery", {{"policy", "checkfree"}}},
                 {"failures", failures}};
    spec["recovery"].update(recovery);
    auto parsed = scheduler::parse_job(spec, "job");
    INFO(parsed.status().message());
    REQUIRE(parsed.ok());
    return std::move(parsed).value();
  }

  // Copies the states of all stages as step `lost_at` begins, before and after the boundary.
  LossyRun run(const scheduler::JobSpec& job) const {
    LossyRun run;
    TaskRunner* runner = nullptr;
    const auto factory = [&] {
      auto made = std::make_unique<Watched>(run);
      runner = made.get();
      return made;
    };
    const Status status = run_solo(job, factory, [&](const RecordStep& step) {
      run.steps.push_back(step);
      if (step.loss) run.losses[step.step] = *step.loss;
      if (step.step == lost_at - 1 && run.before.empty()) copy_all(*runner, run.before);
      return Status();
    });
    INFO(status.message());
    REQUIRE(status.ok());
    return run;
  }

 private:
  static void copy_all(TaskRunner& runner, std::map<std::uint32_t, Completion>& into) {
    for (std::uint32_t stage = 0; stage < stages_of_job; ++stage)
      into[stage] = runner.run(1, CopyState{stage, false});
  }

  // Copies the states when the first forward of the step arrives.
  class Watched : public TorchRunner {
   public:
    explicit Watched(LossyRun& run) : TorchRunner({}), run_(run) {}
    Completion run(TaskId id, const Task& task) override {
      const auto* forward = std::get_if<Forward>(&task);
      if (forward != nullptr && forward->step == lost_at && run_.after.empty()) {
        for (std::uint32_t stage = 0; stage < stages_of_job; ++stage)
          run_.after[stage] = TorchRunner::run(1, CopyState{stage, false});
      }
      return TorchRunner::run(id, task);
    }

   private:
    LossyRun& run_;
  };

  const testing::TemporaryFolder folder_;
};

json lost_once(const std::vector<std::uint32_t>& stages) {
  return {{"list", {{{"step", lost_at}, {"stages", stages}}}}};
}

void check_same(const net::Tensor& got, const net::Tensor& expected) {
  CHECK(values_of(got) == values_of(expected));
}

}  // namespace

TEST_CASE("Scripted losses: a stage becomes the average of its neighbours by the norms of their gradients") {
  const LossyFixture f;
  const std::string moments = GENERATE("average", "fresh");
  const LossyRun run = f.run(f.job({{"moments", moments}}, lost_once({2})));
  const double below = run.before.at(1).traits.gradient_norm + 1e-4,
               above = run.before.at(3).traits.gradient_norm + 1e-4;
  REQUIRE(below > 1e-3);
  for (std::size_t part = 0; part < 3; ++part) {
    const auto a = values_of(run.before.at(1).state[part]), b = values_of(run.before.at(3).state[part]),
               got = values_of(run.after.at(2).state[part]);
    const bool taken = part == 0 || moments == "average";
    for (std::size_t i = 0; i < got.size(); ++i) {
      const double expected = taken ? (below * a[i] + above * b[i]) / (below + above) : 0;
      REQUIRE(got[i] == Approx(expected).epsilon(1e-6).margin(1e-12));
    }
  }
  const StateTraits& traits = run.after.at(2).traits;
  CHECK(traits.updates == (moments == "average" ? lost_at - 1 : 0));
  CHECK(traits.learning_rate_scale == 1.1);
  for (const std::uint32_t stage : {0u, 1u, 3u, 4u, 5u})
    for (std::size_t part = 0; part < 3; ++part)
      check_same(run.after.at(stage).state[part], run.before.at(stage).state[part]);
}

TEST_CASE("Scripted losses: with checkfree+ a stage of a pair becomes the other, moments too") {
  const LossyFixture f;
  const LossyRun run = f.run(f.job({{"policy", "checkfree+"}}, lost_once({5})));
  for (std::size_t part = 0; part < 3; ++part)
    check_same(run.after.at(5).state[part], run.before.at(4).state[part]);
  const auto& routes = run.steps.at(1).routes;
  std::vector<std::uint32_t> odd;
  for (const net::Hop& hop : routes.at(1).hops) odd.push_back(hop.stage);
  CHECK(odd == std::vector<std::uint32_t>{0, 2, 1, 3, 5, 4});
}

TEST_CASE("Scripted losses: a second loss does not raise the learning rate again") {
  const LossyFixture f;
  json failures = lost_once({2});
  failures["list"].push_back({{"step", 3}, {"stages", {2, 3}}});
  const LossyRun run = f.run(f.job(json::object(), failures));
  CHECK(run.before.at(2).traits.learning_rate_scale == 1.1);
  CHECK(run.after.at(2).traits.learning_rate_scale == 1.1);
  CHECK(run.after.at(3).traits.learning_rate_scale == 1.1);
  CHECK(run.after.at(4).traits.learning_rate_scale == 1);
}

TEST_CASE("Scripted losses: where nothing is lost with the stage, training goes on as if it had stayed") {
  const LossyFixture f;
  const json recovery = GENERATE(json{{"policy", "mirror"}, {"every", 1}},
                                 json{{"policy", "checkpoint"}, {"checkpoint_every", 5}});
  INFO(recovery.dump());
  const LossyRun run = f.run(f.job(recovery, lost_once({2, 4}))),
                 calm = f.run(f.job(recovery, json::object()));
  CHECK(run.losses == calm.losses);
  CHECK(run.steps.back().validation_loss == calm.steps.back().validation_loss);
  const LossyRun first = f.run(f.job(json::object(), lost_once({0})));
  CHECK(first.losses == f.run(f.job(json::object(), json::object())).losses);
}

TEST_CASE("Scripted losses: a mirror of every few commits gives the stage back as it was then") {
  const LossyFixture f;
  const std::string moments = GENERATE("average", "fresh");
  const json recovery{{"policy", "mirror"}, {"every", 7}, {"moments", moments}};
  // Mirrored after commit 7, right before the loss.
  const LossyRun run = f.run(f.job(recovery, lost_once({2})));
  check_same(run.after.at(2).state[0], run.before.at(2).state[0]);
  const bool kept = moments == "average";
  CHECK((values_of(run.after.at(2).state[1]) == values_of(run.before.at(2).state[1])) == kept);
  CHECK(run.after.at(2).traits.updates == (kept ? lost_at - 1 : 0));
  CHECK(run.after.at(2).traits.learning_rate_scale == 1);
}

TEST_CASE("Scripted losses: the record of each policy replays to the same losses with real weights") {
  const LossyFixture f;
  const json recovery = GENERATE(
      json{{"policy", "checkfree"}}, json{{"policy", "checkfree"}, {"moments", "fresh"}, {"out_steps", 2}},
      json{{"policy", "checkfree"}, {"weights", "random"}}, json{{"policy", "checkfree+"}},
      json{{"policy", "mirror"}, {"every", 1}}, json{{"policy", "mirror"}, {"every", 3}},
      json{{"policy", "checkpoint"}, {"checkpoint_every", 5}});
  INFO(recovery.dump());
  json failures = lost_once({2, 3});
  failures["probability"] = 0.03;
  const scheduler::JobSpec job = f.job(recovery, failures);
  const LossyRun run = f.run(job);
  auto next = run.steps.begin();
  const auto report = replay(
      {"lossy", scheduler::to_json(job)}, recoveries_of(run.steps),
      [&]() -> Result<std::optional<RecordStep>> {
        if (next == run.steps.end()) return std::optional<RecordStep>();
        return std::optional<RecordStep>(*next++);
      },
      [] { return std::make_unique<TorchRunner>(TorchRunnerOptions{}); });
  INFO(report.status().message());
  REQUIRE(report.ok());
  CHECK(report.value().first_difference == "");
}

}  // namespace sidestep::daemon

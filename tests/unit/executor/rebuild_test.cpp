// The tensor half of a rebuild: layers copied out of a stage, averaged into another, and what follows of it.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>

#include "daemon/executor/torch_runner.h"
#include "tests/unit/data/temporary_folder.h"
#include "tests/unit/model/small_job.h"

namespace sidestep::daemon {
namespace {

using namespace testing;

struct Fixture {
  Fixture() : path(folder.path("a.txt")), spec(small_job(3)) {
    std::string text;
    while (text.size() < 4'000) text += "the quick brown fox jumps over the lazy dog. ";
    write_bytes(path, text);
    spec.model.vocab_size = 256;
    spec.data.path = path;
    must(InitJob{spec, {0, 1, 2}, true});
  }

  Completion must(const Task& task) {
    Completion done = runner.run(1, task);
    INFO(done.fault);
    REQUIRE(done.fault.empty());
    return done;
  }

  // One step of two microbatches.
  void train(std::uint64_t step) {
    for (std::uint32_t microbatch = 0; microbatch < 2; ++microbatch) {
      net::Tensor x;
      for (std::uint32_t stage = 0; stage < 3; ++stage)
        x = must(Forward{stage, step, microbatch, false, true, x}).tensor;
      net::Tensor gradient = must(Head{step, microbatch, false, true, x}).tensor;
      for (std::uint32_t stage = 3; stage-- > 0;)
        gradient = must(Backward{stage, step, microbatch, true, gradient}).tensor;
    }
    for (std::uint32_t stage = 0; stage < 3; ++stage) {
      const std::uint64_t length = must(CopyState{stage, false}).state[0].payload.size() / sizeof(float);
      must(Reduce{stage, 0, length, {net::Tensor()}, 0.5, false});
      norms[stage] = must(MeasureAverage{stage}).norm;
    }
    must(Update{step, {0, 1, 2}});
  }

  const TemporaryFolder folder;
  const std::string path;
  scheduler::JobSpec spec;
  TorchRunner runner{{}};
  std::map<std::uint32_t, double> norms;
};

std::vector<float> floats(const net::Tensor& tensor) {
  std::vector<float> values(tensor.payload.size() / sizeof(float));
  std::memcpy(values.data(), tensor.payload.data(), tensor.payload.size());
  return values;
}

}  // namespace

TEST_CASE("Rebuilt state: the layers of stage 0 are those of its parameters, in a middle stage's order") {
  Fixture f;
  f.train(1);
  const Completion whole = f.must(CopyState{0, false}), layers = f.must(CopyState{0, true});
  const ParameterLayout first = ParameterLayout::of_stage(f.spec, 0),
                        middle = ParameterLayout::of_stage(f.spec, 1);
  for (std::size_t part = 0; part < 3; ++part) {
    const std::vector<float> all = floats(whole.state[part]), got = floats(layers.state[part]);
    REQUIRE(got.size() == static_cast<std::size_t>(middle.elements));
    REQUIRE(got.size() < all.size());
    // Layer by layer: stage 1 has the second, and what it has at an offset stage 0 has of its own.
    for (const Parameter& parameter : middle.parameters) {
      std::string name = parameter.name;
      const std::size_t number = name.find('.', 7) + 1;  // behind "model.layers."
      const std::int64_t layer = std::stoll(name.substr(number));
      const std::size_t end = name.find('.', number);
      name.replace(number, end - number, std::to_string(layer - f.spec.first_layer(1)));
      const Parameter& own = first.find(name);
      REQUIRE(own.elements() == parameter.elements());
      for (std::int64_t i = 0; i < own.elements(); ++i)
        REQUIRE(got[static_cast<std::size_t>(parameter.offset + i)] ==
                all[static_cast<std::size_t>(own.offset + i)]);
    }
  }
}

TEST_CASE("Rebuilt state: slices of two stages become their weighted average, moments too") {
  Fixture f;
  f.train(1);
  f.train(2);
  const Completion below = f.must(CopyState{0, true}), above = f.must(CopyState{2, true});
  const double weight = 0.7;
  f.must(DropStage{1});
  f.must(AddStage{1});
  for (std::size_t part = 0; part < 3; ++part)
    f.must(StoreState{1,
                      static_cast<net::SnapshotPart>(part),
                      0,
                      {{below.state[part], weight}, {above.state[part], 1 - weight}}});
  f.must(FinishState{1, 2, {2, 0, 1.1}, FinishState::MadeOf::others});
  const Completion rebuilt = f.must(CopyState{1, false});
  CHECK(rebuilt.traits.updates == 2);
  CHECK(rebuilt.traits.learning_rate_scale == 1.1);
  for (std::size_t part = 0; part < 3; ++part) {
    const std::vector<float> a = floats(below.state[part]), b = floats(above.state[part]),
                             got = floats(rebuilt.state[part]);
    REQUIRE(got.size() == a.size());
    for (std::size_t i = 0; i < got.size(); ++i)
      REQUIRE(got[i] == Approx(weight * a[i] + (1 - weight) * b[i]).epsilon(1e-6).margin(1e-12));
  }
  f.train(3);  // it works
}

TEST_CASE("Rebuilt state: a copy tells the norm of the last gradient, clipped as the update clips it") {
  Fixture f;
  f.spec.optimizer.clip_norm = GENERATE(0.0, 1e-3);
  f.must(DropJob{});
  f.must(InitJob{f.spec, {0, 1, 2}, true});
  CHECK(f.must(CopyState{1, true}).traits.gradient_norm == 0);
  f.train(1);
  for (std::uint32_t stage = 0; stage < 3; ++stage) {
    const double clip = f.spec.optimizer.clip_norm;
    const double expected = clip > 0 ? std::min(clip, f.norms[stage]) : f.norms[stage];
    CHECK(f.must(CopyState{stage, true}).traits.gradient_norm == Approx(expected).epsilon(2e-3));
  }
}

TEST_CASE("Rebuilt state: slices of different lengths are refused") {
  Fixture f;
  const Completion below = f.must(CopyState{0, true}), whole = f.must(CopyState{0, false});
  const Completion done = f.runner.run(
      1, StoreState{1, net::SnapshotPart::weights, 0, {{below.state[0], 0.5}, {whole.state[0], 0.5}}});
  CHECK(done.fault.find("another size") != std::string::npos);
}

}  // namespace sidestep::daemon

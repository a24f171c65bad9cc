#include "recovery/weights.h"
#include "scheduler/sources.h"

#include <rapidcheck.h>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "tests/unit/scheduler/swarm.h"

using namespace sidestep;
using recovery::weigh;
using scheduler::sources_of;
using scheduler::testing::job_json;
using scheduler::testing::key;
using Stages = std::vector<std::uint32_t>;

namespace {

scheduler::JobSpec job(bool stage_0_layers = true) {
  nlohmann::json json = job_json(5, 10);
  json["pipeline"]["stage_0_layers"] = stage_0_layers;
  if (!stage_0_layers) json["model"]["num_hidden_layers"] = 4;
  json["recovery"] = {{"policy", "checkfree"}};
  return std::move(scheduler::parse_job(json, "job")).value();
}

}  // namespace

TEST_CASE("Sources: the nearest stages that are held, those with layers") {
  CHECK(sources_of(job(), {2}, 2) == Stages{1, 3});
  CHECK(sources_of(job(), {2, 3}, 2) == Stages{1, 4});
  CHECK(sources_of(job(), {2, 3}, 3) == Stages{1, 4});
  CHECK(sources_of(job(), {4}, 4) == Stages{3});
  CHECK(sources_of(job(), {3, 4}, 4) == Stages{2});
  CHECK(sources_of(job(), {1}, 1) == Stages{0, 2});
  CHECK(sources_of(job(false), {1}, 1) == Stages{2});
  CHECK(sources_of(job(), {1, 2, 3, 4}, 3) == Stages{0});
  CHECK(sources_of(job(false), {1, 2, 3, 4}, 3).empty());
}

TEST_CASE("Sources: a copy is of the stage below, or of the one above where there is none") {
  scheduler::JobSpec copy = job(false);
  copy.recovery.weights = "copy";
  CHECK(sources_of(copy, {2}, 2) == Stages{1});
  CHECK(sources_of(copy, {1}, 1) == Stages{2});
}

TEST_CASE("Sources: with checkfree+ a stage of a pair is a copy of the other, if that is left") {
  scheduler::JobSpec pairs = job();
  pairs.recovery.policy = "checkfree+";
  CHECK(sources_of(pairs, {1}, 1) == Stages{2});
  CHECK(sources_of(pairs, {2}, 2) == Stages{1});
  CHECK(sources_of(pairs, {3}, 3) == Stages{4});
  CHECK(sources_of(pairs, {4}, 4) == Stages{3});
  CHECK(sources_of(pairs, {1, 2}, 1) == Stages{0, 3});
  CHECK(sources_of(pairs, {3, 4}, 4) == Stages{2});
}

TEST_CASE("Sources: weights follow the norms of the last gradients, as CheckFree says") {
  scheduler::RecoverySpec recovery;
  auto weights = weigh(recovery, {{1, 0.3}, {3, 0.1}});
  REQUIRE(weights.size() == 2);
  CHECK(weights[0].stage == 1);
  CHECK(weights[0].weight == Approx(0.3001 / 0.4002));
  CHECK(weights[1].weight == Approx(0.1001 / 0.4002));
  recovery.weight_power = 2;
  CHECK(weigh(recovery, {{1, 0.3}, {3, 0.1}})[0].weight ==
        Approx(0.3001 * 0.3001 / (0.3001 * 0.3001 + 0.1001 * 0.1001)));
  recovery.weights = "uniform";
  CHECK(weigh(recovery, {{1, 0.3}, {3, 0.1}})[0].weight == 0.5);
  recovery.weights = "random";
  CHECK(weigh(recovery, {{1, 0.3}, {3, 0.1}}).empty());
}

TEST_CASE("Sources: whatever norms peers tell, weights are from 0 to 1 and add up to 1") {
  const auto holds = rc::check([] {
    const auto number = [] {
      return *rc::gen::element(0.0, -1.0, 1e-300, 1e-4, 1.0, 3e5, 1e300,
                               std::numeric_limits<double>::infinity(),
                               std::numeric_limits<double>::quiet_NaN());
    };
    scheduler::RecoverySpec recovery;
    recovery.weights = *rc::gen::element<std::string>("gradient", "uniform", "copy");
    recovery.weight_power = *rc::gen::element(0.0, 0.5, 1.0, 10.0);
    std::vector<recovery::SourceNorm> sources{{1, number()}};
    if (*rc::gen::arbitrary<bool>()) sources.push_back({3, number()});
    double sum = 0;
    for (const auto& source : weigh(recovery, sources)) {
      RC_ASSERT(source.weight >= 0 && source.weight <= 1);
      sum += source.weight;
    }
    RC_ASSERT(std::abs(sum - 1) < 1e-12);
  });
  CHECK(holds);
}

#include "scheduler/planner/planner.h"

#include <rapidcheck.h>
#include <rapidcheck/catch.h>
#include <catch2/catch.hpp>
#include <thread>

#include "scheduler/planner/construct.h"
#include "scheduler/planner/evaluator.h"
#include "scheduler/planner/pods.h"
#include "scheduler/planner/rules.h"
#include "tests/unit/planner/published.h"
#include "tests/unit/planner/random_instance.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;

namespace {

constexpr PlanMethod methods[] = {PlanMethod::full, PlanMethod::dtfm, PlanMethod::random_skip,
                                  PlanMethod::no_collision, PlanMethod::sidestep};

PlanOptions options_of(PlanMethod method, std::uint64_t work, std::uint64_t seed = 1) {
  PlanOptions options;
  options.method = method;
  options.work = work;
  options.seed = seed;
  return options;
}

// What holds for every result of every method, or why there is none.
void check_result(const Instance& instance, PlanMethod method, const Result<PlanResult>& made) {
  const Instance judged = for_method(instance, method);
  if (!made.ok()) {
    RC_ASSERT(made.status().code() == Code::refused);
    RC_ASSERT(made.status().message().size() > 20);
    if (const Status feasible = check_feasible(judged); !feasible.ok())
      RC_ASSERT(made.status().message() == feasible.message());
    return;
  }
  const PlanResult& result = made.value();
  const Evaluation evaluation = evaluate(judged, result.plan);
  if (!evaluation.broken.empty())
    RC_FAIL(std::string(to_string(method)) + ": " + evaluation.broken[0].rule + ": " +
            evaluation.broken[0].text);
  RC_ASSERT(evaluation.finishes);
  RC_ASSERT(result.makespan_us == evaluation.makespan_us);
  RC_ASSERT(result.step_us == evaluation.step_us);
  RC_ASSERT(result.moving_us == 0);
}

// Jobs in an order that nobody expects.
PlanMachine backwards() {
  return {[](std::size_t count, const std::function<void(std::size_t)>& job) {
            for (std::size_t i = count; i-- > 0;) job(i);
          },
          {}};
}
PlanMachine with_threads() {
  return {[](std::size_t count, const std::function<void(std::size_t)>& job) {
            std::vector<std::thread> threads;
            for (std::size_t i = 0; i < count; ++i) threads.emplace_back(job, i);
            for (std::thread& thread : threads) thread.join();
          },
          {}};
}

void check_same_everywhere(const Instance& instance, const PlanOptions& options) {
  const Result<PlanResult> plain = make_plan(instance, options, plain_machine());
  for (const PlanMachine& machine : {plain_machine(), backwards(), with_threads()}) {
    const Result<PlanResult> again = make_plan(instance, options, machine);
    RC_ASSERT(again.ok() == plain.ok());
    if (!plain.ok()) {
      RC_ASSERT(again.status().message() == plain.status().message());
      continue;
    }
    RC_ASSERT(again.value().plan == plain.value().plan);
    RC_ASSERT(again.value().step_us == plain.value().step_us);
    RC_ASSERT(again.value().first_us == plain.value().first_us);
    RC_ASSERT(again.value().evaluations == plain.value().evaluations);
  }
}

}  // namespace

TEST_CASE("Planner: every plan of every method keeps every rule") {
  int asked = 0, refused = 0;
  rc::prop("any instance", [&](std::uint64_t seed) {
    net::Random random(seed);
    for (int i = 0; i < 10; ++i) {
      const auto [instance, witness] = random_instance(random);
      for (const PlanMethod method : methods) {
        const Result<PlanResult> made = make_plan(instance, options_of(method, 4'000), plain_machine());
        check_result(instance, method, made);
        if (method != PlanMethod::sidestep || !evaluate(instance, witness).finishes) continue;
        ++asked;
        refused += made.ok() ? 0 : 1;
      }
    }
  });
  // Each of these has a plan. It is not always found: of 3,000 about 80 are not.
  CAPTURE(refused, asked);
  CHECK(refused * 14 <= asked);
}

TEST_CASE("Planner: larger instances keep every rule") {
  rc::prop("any instance", [](std::uint64_t seed) {
    net::Random random(seed);
    const Instance instance =
        random_instance(random, {.nodes_min = 20, .nodes_max = 60, .stages_max = 12, .microbatches_max = 60})
            .instance;
    for (const PlanMethod method : methods)
      check_result(instance, method, make_plan(instance, options_of(method, 30'000), plain_machine()));
  });
}

TEST_CASE("Planner: what is impossible is refused with the sums") {
  Instance instance = published20();
  instance.max_visits.assign(6, 17);
  for (const PlanMethod method : {PlanMethod::random_skip, PlanMethod::no_collision, PlanMethod::sidestep}) {
    const Result<PlanResult> made = make_plan(instance, options_of(method, 1'000), plain_machine());
    REQUIRE_FALSE(made.ok());
    CHECK(made.status().message() == check_feasible(instance).message());
  }
  for (const PlanMethod method : {PlanMethod::full, PlanMethod::dtfm})
    CHECK(make_plan(instance, options_of(method, 1'000), plain_machine()).ok());
}

TEST_CASE("Planner: a route through a link that is missing is refused as that") {
  Instance instance = published20();
  instance.stage_of = published_plan().stage_of;
  // Stage 3's nodes reach each other, but no other.
  for (std::size_t a = 0; a < 20; ++a)
    for (const std::size_t b : {12, 13, 16})
      if (a != 12 && a != 13 && a != 16)
        instance.transfer_us[a * 20 + b] = instance.transfer_us[b * 20 + a] = Instance::no_link;
  const Result<PlanResult> made =
      make_plan(instance, options_of(PlanMethod::sidestep, 1'000), plain_machine());
  REQUIRE_FALSE(made.ok());
  CHECK(made.status().message().starts_with("no plan was found that needs no missing link: microbatch "));
}

TEST_CASE("Planner: the smallest instances are planned at once") {
  for (const std::uint32_t stages : {1u, 2u})
    for (const std::uint32_t microbatches : {1u, 3u})
      for (const std::int64_t nodes : {1, 2})
        for (const bool averaging : {false, true}) {
          net::Random random(1);
          Instance instance = random_swarm(random, nodes, stages, microbatches);
          for (InstanceNode& node : instance.nodes) {
            node.max_stages = 2;
            node.slots = 6;  // of both stages, or all could be taken for the first
          }
          if (averaging) {
            instance.stage_bytes.assign(stages, 1000);
            instance.latency_us.assign(instance.transfer_us.size(), 5);
            instance.bandwidth.assign(instance.transfer_us.size(), 1e6);
          }
          for (const PlanMethod method : methods) {
            CAPTURE(stages, microbatches, nodes, averaging, to_string(method));
            const Result<PlanResult> made = make_plan(instance, options_of(method, 1'000), plain_machine());
            // Columns have one stage a node.
            const bool column = method == PlanMethod::dtfm && stages > nodes;
            CHECK(made.ok() != column);
            if (made.ok()) CHECK(broken_rules(for_method(instance, method), made.value().plan).empty());
          }
        }
}

TEST_CASE("Planner: a search never loses to what it began with") {
  rc::prop("any instance", [](std::uint64_t seed) {
    net::Random random(seed);
    const Instance instance = random_instance(random).instance;
    for (const PlanMethod method : {PlanMethod::full, PlanMethod::sidestep}) {
      const Result<PlanResult> made = make_plan(instance, options_of(method, 5'000, seed), plain_machine());
      if (!made.ok()) continue;
      const Instance judged = for_method(instance, method);
      const Result<std::vector<Draft>> first = construct_each(judged);
      RC_ASSERT(first.ok());
      const Evaluation evaluation = evaluate(judged, first.value().front().plan(judged));
      RC_ASSERT(made.value().first_us == (evaluation.finishes ? evaluation.step_us : 0));
      if (evaluation.finishes) RC_ASSERT(made.value().step_us <= evaluation.step_us);
    }
  });
}

TEST_CASE("Planner: the same seed and work give the same plan with any number of threads") {
  rc::prop("any instance", [](std::uint64_t seed) {
    net::Random random(seed);
    const Instance instance = random_instance(random).instance;
    PlanOptions options = options_of(methods[seed % 5], 5'000, seed);
    options.lanes = static_cast<std::uint32_t>(random.between(1, 5));
    check_same_everywhere(instance, options);
  });
}

TEST_CASE("Planner: the same seed and work give the same plan of many nodes") {
  net::Random random(7);
  const Instance swarm = random_swarm(random, 100, 6, 80);
  REQUIRE(wants_pods(swarm));
  PlanOptions options = options_of(PlanMethod::sidestep, 300'000);
  options.lanes = 3;
  check_same_everywhere(swarm, options);
}

TEST_CASE("Planner: many nodes are planned better than they are begun with") {
  rc::prop("any swarm", [](std::uint64_t seed) {
    net::Random random(seed);
    const Instance swarm =
        random_swarm(random, random.between(48, 120), random.between(2, 10), random.between(20, 120));
    const Result<PlanResult> made =
        make_plan(swarm, options_of(PlanMethod::sidestep, 200'000, seed), plain_machine());
    RC_ASSERT(made.ok());
    check_result(swarm, PlanMethod::sidestep, made);
    if (made.value().first_us > 0) RC_ASSERT(made.value().step_us <= made.value().first_us);
  });
}

TEST_CASE("Planner: more work is worth it") {
  const Instance instance = published20();
  const auto step_us = [&](std::uint64_t work) {
    return make_plan(instance, options_of(PlanMethod::sidestep, work), plain_machine()).value().step_us;
  };
  const std::int64_t little = step_us(10'000), much = step_us(20'000'000);
  CHECK(much < little);
  CHECK(much < 33'573'792);  // the published plan
}

TEST_CASE("Planner: a budget of time alone ends") {
  std::int64_t now_us = 0;
  PlanMachine machine = plain_machine();
  machine.now_us = [&] { return now_us += 100; };
  PlanOptions options = options_of(PlanMethod::sidestep, 0);
  options.budget_us = 50'000;
  for (const PlanMethod method : methods) {
    options.method = method;
    CHECK(make_plan(published20(), options, machine).ok());
  }
}

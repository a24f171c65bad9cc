// Many drawn runs: safety and progress under faults, whatever the shape of the job.
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "tests/sim/fault_run.h"
#include "tests/sim/random_run.h"

using namespace sidestep;
using namespace sidestep::sim;

namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

// Every seed from the environment's first to its last; what is wrong is told with the seed and its draw.
template <class Draw, class Run>
void run_seeds(std::uint64_t count, Draw draw, Run run_one) {
  const std::uint64_t only = from_environment("SIDESTEP_SIM_SEED", 0);
  const std::uint64_t first = only != 0 ? only : from_environment("SIDESTEP_SIM_FIRST", 1);
  const std::uint64_t last = only != 0 ? only : first - 1 + from_environment("SIDESTEP_SIM_SEEDS", count);
  std::printf("seeds %llu to %llu\n", static_cast<unsigned long long>(first),
              static_cast<unsigned long long>(last));
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    auto drawn = draw(seed);
    drawn.options.trace = only != 0;
    const RunResult result = run_one(drawn);
    if (only != 0) std::ofstream("sim-trace.txt") << result.trace;
    if (result.problems.empty()) continue;
    std::string text;
    for (const std::string& problem : result.problems) text += problem + "\n";
    UNSCOPED_INFO("SIDESTEP_SIM_SEED=" << seed << ": " << drawn.describe() << "\n"
                                       << text << "last lines:\n"
                                       << result.last_lines);
    CHECK(result.problems.empty());
  }
}

}  // namespace

// SIDESTEP_SIM_SEEDS: how many, from SIDESTEP_SIM_FIRST on; SIDESTEP_SIM_SEED: that one alone, its trace
// written to sim-trace.txt.
TEST_CASE("Swarm: drawn jobs end right under drawn faults", "[seeds]") {
  run_seeds(200, draw_run, [](const RandomRun& drawn) { return run(drawn); });
}

TEST_CASE("Swarm: drawn jobs survive the loss of nodes while every stage has a replica left", "[seeds]") {
  const auto draw = [](std::uint64_t seed) {
    RandomRun drawn = draw_run(seed);
    drawn.cuts.clear();
    drawn.restarts_us.clear();
    return drawn;
  };
  run_seeds(200, draw, run_with_loss);
}

TEST_CASE("Swarm: drawn jobs get through mixed faults", "[seeds]") {
  run_seeds(500, draw_fault_run, [](const FaultRun& drawn) { return run(drawn); });
}

TEST_CASE("Swarm: drawn jobs get through the loss of stages", "[seeds]") {
  run_seeds(500, draw_rebuild_run, [](const FaultRun& drawn) { return run(drawn); });
}

TEST_CASE("Swarm: drawn jobs go back to their checkpoints whatever is lost", "[seeds]") {
  run_seeds(300, draw_checkpoint_run, [](const FaultRun& drawn) { return run(drawn); });
}

TEST_CASE("Swarm: the same seed gives the same trace, byte for byte") {
  for (const std::uint64_t seed : {3, 17, 40}) {
    INFO("seed " << seed);
    RandomRun drawn = draw_run(seed);
    drawn.options.trace = true;
    const RunResult first = run(drawn);
    const RunResult second = run(drawn);
    CHECK(first.trace.size() > 10'000);
    // Not compared by CHECK: it would print both.
    const bool same = first.trace == second.trace;
    CHECK(same);
  }
}

// How long a plan takes to repair, and what the repaired one is worth. Prints one JSON object; scripts/bench
// plan runs it.
//
// usage: sidestep_bench_repair BEFORE.json PLAN.json AFTER.json REPAIRED.json
// PLAN.json is a plan of BEFORE.json, an instance; the repaired one, of AFTER.json, is written.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "net/clock.h"
#include "scheduler/options.h"
#include "scheduler/planner/evaluator.h"
#include "scheduler/planner/instance_json.h"
#include "scheduler/planner/planner.h"

namespace sidestep::scheduler {
namespace {

constexpr int rounds = 5;

Result<nlohmann::json> measure(const char* before_path, const char* plan_path, const char* after_path,
                               const char* repaired_path) {
  const Result<Instance> before = load_instance(before_path), after = load_instance(after_path);
  if (!before.ok()) return before.status();
  if (!after.ok()) return after.status();
  const Result<nlohmann::json> file = load_json_file(plan_path);
  if (!file.ok()) return file.status();
  const Result<PathPlan> plan = parse_path_plan(file.value(), before.value(), plan_path);
  if (!plan.ok()) return plan.status();
  std::vector<double> seconds;
  PathPlan repaired;
  for (int round = 0; round < rounds; ++round) {
    const std::int64_t begin_us = net::monotonic_us();
    Result<PathPlan> result = repair(after.value(), before.value(), plan.value());
    seconds.push_back(static_cast<double>(net::monotonic_us() - begin_us) / 1e6);
    if (!result.ok()) return result.status();
    repaired = std::move(result).value();
  }
  std::sort(seconds.begin(), seconds.end());
  const Evaluation evaluation = evaluate(after.value(), repaired);
  std::ofstream(repaired_path) << to_json(repaired, after.value()).dump() << '\n';
  return nlohmann::json{{"seconds", seconds[seconds.size() / 2]},
                        {"finishes", evaluation.finishes},
                        {"broken", evaluation.broken.size()},
                        {"step_s", static_cast<double>(evaluation.step_us) / 1e6}};
}

}  // namespace
}  // namespace sidestep::scheduler

int main(int count, char** arguments) {
  if (count != 5) {
    std::fprintf(stderr, "usage: %s BEFORE.json PLAN.json AFTER.json REPAIRED.json\n", arguments[0]);
    return 2;
  }
  const auto report = sidestep::scheduler::measure(arguments[1], arguments[2], arguments[3], arguments[4]);
  if (!report.ok()) {
    std::fprintf(stderr, "%s\n", report.status().message().c_str());
    return 1;
  }
  std::printf("%s\n", report.value().dump(2).c_str());
}

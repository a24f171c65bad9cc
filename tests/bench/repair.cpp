// How long a plan takes to repair, what the repaired one is worth, and what it is after the search has gone
// on with it for a moment, on one thread. Prints one JSON object; scripts/bench plan runs it.
//
// usage: sidestep_bench_repair BEFORE.json PLAN.json AFTER.json REPAIRED.json MOMENT_MS
// PLAN.json is a plan of BEFORE.json, an instance; the repaired one, of AFTER.json, is written.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
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
                               const char* repaired_path, std::int64_t moment_ms) {
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
  PlanMachine machine = plain_machine();
  machine.now_us = net::monotonic_us;
  PlanOptions options;
  options.budget_us = moment_ms * net::ms;
  options.lanes = 1;
  options.start = repaired;
  const std::int64_t begin_us = net::monotonic_us();
  const Result<PlanResult> improved = make_plan(after.value(), options, machine);
  const std::int64_t end_us = net::monotonic_us();
  if (!improved.ok()) return improved.status();
  std::ofstream(repaired_path) << to_json(repaired, after.value()).dump() << '\n';
  return nlohmann::json{{"seconds", seconds[seconds.size() / 2]},
                        {"finishes", evaluation.finishes},
                        {"broken", evaluation.broken.size()},
                        {"step_s", static_cast<double>(evaluation.step_us) / 1e6},
                        {"moment_seconds", static_cast<double>(end_us - begin_us) / 1e6},
                        {"moment_step_s", static_cast<double>(improved.value().step_us) / 1e6}};
}

}  // namespace
}  // namespace sidestep::scheduler

int main(int count, char** arguments) {
  const long moment_ms = count == 6 ? std::strtol(arguments[5], nullptr, 10) : 0;
  if (moment_ms <= 0) {
    std::fprintf(stderr, "usage: %s BEFORE.json PLAN.json AFTER.json REPAIRED.json MOMENT_MS\n",
                 arguments[0]);
    return 2;
  }
  const auto report =
      sidestep::scheduler::measure(arguments[1], arguments[2], arguments[3], arguments[4], moment_ms);
  if (!report.ok()) {
    std::fprintf(stderr, "%s\n", report.status().message().c_str());
    return 1;
  }
  std::printf("%s\n", report.value().dump(2).c_str());
}

// How fast the cost model is: makespans as the search asks for them (one microbatch of the plan changed, then
// simulated to the end) and full reports, one thread. Prints one JSON object; scripts/bench plan runs it.
//
// usage: sidestep_bench_evaluator INSTANCE.json PLANS.json
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "net/clock.h"
#include "scheduler/options.h"
#include "scheduler/planner/evaluator.h"
#include "scheduler/planner/instance_json.h"
#include "scheduler/planner/step_engine.h"

namespace sidestep::scheduler {
namespace {

constexpr int rounds = 5;
constexpr std::int64_t round_us = net::second / 2;

// Calls a second, the median of the rounds.
template <class Call>
double rate(const Call& call) {
  std::vector<double> rates;
  for (int round = 0; round < rounds; ++round) {
    const std::int64_t begin_us = net::monotonic_us();
    std::int64_t now_us = begin_us;
    std::uint64_t calls = 0;
    while (now_us - begin_us < round_us) {
      for (int i = 0; i < 256; ++i) call(calls++);
      now_us = net::monotonic_us();
    }
    rates.push_back(static_cast<double>(calls) / (static_cast<double>(now_us - begin_us) / 1e6));
  }
  std::sort(rates.begin(), rates.end());
  return rates[rates.size() / 2];
}

Result<nlohmann::json> measure(const char* instance_path, const char* plans_path) {
  const Result<Instance> loaded = load_instance(instance_path);
  if (!loaded.ok()) return loaded.status();
  const Instance& instance = loaded.value();
  const Result<nlohmann::json> plans = load_json_file(plans_path);
  if (!plans.ok()) return plans.status();
  const nlohmann::json& file = plans.value();
  const Result<PathPlan> plan =
      parse_path_plan(file.contains("plans") ? file["plans"][0] : file, instance, plans_path);
  if (!plan.ok()) return plan.status();
  const std::vector<Path>& paths = plan.value().paths;

  std::size_t hops = 1;
  for (const Path& path : paths) hops = std::max(hops, path.hops.size());
  StepEngine engine(instance, paths.size(), hops);
  for (std::size_t n = 0; n < instance.node_count(); ++n) engine.set_slots(n, plan.value().slots[n]);
  const auto set = [&](std::size_t row) {
    engine.set_row(row, paths[row].hops.data(), paths[row].hops.size());
  };
  for (std::size_t row = 0; row < paths.size(); ++row) set(row);
  const std::int64_t makespan_us = engine.run(StepEngine::never);

  bool same = true;
  const double makespans = rate([&](std::uint64_t call) {
    set(call % paths.size());
    same = engine.run(StepEngine::never) == makespan_us && same;
  });
  const double reports = rate(
      [&](std::uint64_t) { same = evaluate(instance, plan.value()).makespan_us == makespan_us && same; });
  if (!same) return Status::internal("a makespan is not what it was");
  return nlohmann::json{{"nodes", instance.node_count()},
                        {"microbatches", paths.size()},
                        {"makespan_s", static_cast<double>(makespan_us) / 1e6},
                        {"makespans_per_s", makespans},
                        {"reports_per_s", reports}};
}

}  // namespace
}  // namespace sidestep::scheduler

int main(int count, char** arguments) {
  if (count != 3) {
    std::fprintf(stderr, "usage: %s INSTANCE.json PLANS.json\n", arguments[0]);
    return 2;
  }
  const auto report = sidestep::scheduler::measure(arguments[1], arguments[2]);
  if (!report.ok()) {
    std::fprintf(stderr, "%s\n", report.status().message().c_str());
    return 1;
  }
  std::printf("%s\n", report.value().dump(2).c_str());
}

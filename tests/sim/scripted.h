// The beginnings and waits of scripted runs; to be used within a test case.
#pragma once

#include <catch2/catch.hpp>
#include <functional>
#include <string>

#include "daemon/simulator/sim_cluster.h"
#include "net/clock.h"
#include "tests/sim/checker.h"
#include "tests/sim/sim_job.h"

namespace sidestep::sim {

// A cluster in which the job has made some steps.
inline std::string begin(SimCluster& cluster, const nlohmann::json& job, std::size_t nodes) {
  cluster.start();
  REQUIRE(cluster.run_until_joined(nodes));
  const std::string id = cluster.submit(job);
  REQUIRE(cluster.run_until_commit(id, 3));
  return id;
}

inline void require_soon(SimCluster& cluster, std::int64_t bound_us, const std::function<bool()>& condition) {
  const bool holds = cluster.run_until(condition, bound_us);
  INFO(cluster.last_lines());
  REQUIRE(holds);
}

// Every node that holds the stage.
inline void kill_all_of(SimCluster& cluster, const std::string& job, std::uint32_t stage) {
  for (const net::NodeKey& key : plan_of(cluster, job).replicas(stage)) cluster.kill(cluster.node_of(key));
}

// By the record, in order.
inline std::vector<scheduler::RecordRecovery> recoveries(const SimCluster& cluster, const std::string& job) {
  std::vector<scheduler::RecordRecovery> all;
  for (const scheduler::RecordStep& step : cluster.record(job))
    all.insert(all.end(), step.recoveries.begin(), step.recoveries.end());
  return all;
}

// Rightly: check_done().
inline void require_done(SimCluster& cluster, const std::string& job, const SimOptions& options) {
  const bool ended = cluster.run_until_ended(job, 600 * net::second);
  INFO(cluster.last_lines());
  REQUIRE(ended);
  cluster.run_for(20 * net::second);  // late repeats of what nobody waits for any more
  CHECK(join(check_done(cluster, job, options.fake)) == "");
}

}  // namespace sidestep::sim

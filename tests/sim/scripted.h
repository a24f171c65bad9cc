// The beginnings and waits of scripted runs; to be used within a test case.
#pragma once

#include <catch2/catch.hpp>
#include <functional>
#include <string>

#include "daemon/simulator/sim_cluster.h"
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

}  // namespace sidestep::sim

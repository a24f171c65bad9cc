// Who is told what happens in a SimCluster as it happens. Called between two events of the cluster or within
// one; an observer changes nothing in it. Times are the cluster's. By default nothing is done.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "daemon/core/tasks.h"
#include "net/sim_bus.h"
#include "scheduler/store.h"

namespace sidestep::sim {

class SimObserver {
 public:
  using Us = std::int64_t;
  using Node = std::size_t;

  virtual ~SimObserver() = default;
  virtual void on_started(Us /*now*/, Node) {}
  // The node's process ends, for whatever reason.
  virtual void on_ended(Us /*now*/, Node) {}
  virtual void on_paused(Us /*now*/, Node) {}
  virtual void on_resumed(Us /*now*/, Node) {}
  virtual void on_task_begun(Us /*now*/, Node, const daemon::Task&) {}
  virtual void on_task_ended(Us /*now*/, Node) {}
  // A message that will arrive, unless its link is cut meanwhile.
  virtual void on_sent(Us /*now*/, const net::SimPacket&, Us /*arrival*/) {}
  // The scheduler has stored this.
  virtual void on_stored(Us /*now*/, const scheduler::StoreChange&) {}
  // A log line of a node or of "scheduler".
  virtual void on_line(Us /*now*/, const std::string& /*who*/, const net::LogLine&) {}
};

}  // namespace sidestep::sim

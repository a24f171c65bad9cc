// Which of a job's stages fit on which nodes, and a first way to fill them all. Pure; the job and the nodes
// must outlive it.
#pragma once

#include <cstddef>
#include <vector>

#include "scheduler/job.h"
#include "scheduler/memory.h"
#include "scheduler/placement.h"
#include "scheduler/planner/instance.h"

namespace sidestep::scheduler {

class PlacementRoom {
 public:
  // Nodes are named by their index from here on.
  PlacementRoom(const JobSpec& job, std::vector<const PlacementNode*> nodes);

  // Alone on it, with one slot at least, and with the data where it is stage 0.
  bool fits(std::size_t node, std::size_t stage) const;
  // Whether all stages can be held, one a node.
  bool enough() const;
  // Whether averaging with a replica costs some node a stage that fits there, or slots of it.
  bool averaging_is_tight() const;

  // Nodes by stage: every node in turn, the fastest first, goes to the stage with the least speed so far, as
  // long as all stages can still be held, and there are microbatches for it; nodes that fit nowhere are left
  // over. Precondition: enough(). `instance` has the same nodes.
  std::vector<std::vector<std::size_t>> fill(const Instance& instance) const;

 private:
  using Nodes = std::vector<std::size_t>;

  std::uint32_t slots(std::size_t node, const MemoryNeed& need) const;
  bool cover(const Nodes& free, bool needs_origin, std::size_t needed) const;
  bool others_cover(const Nodes& free, std::size_t taken, const std::vector<Nodes>& holders) const;
  bool may_join(std::size_t node, std::size_t stage, const Nodes& holders) const;

  const JobSpec& job_;
  std::vector<const PlacementNode*> nodes_;
  std::size_t stages_;
  std::vector<MemoryNeed> needs_;          // by stage, without other replicas
  std::vector<MemoryNeed> replica_needs_;  // by stage, with another
};

}  // namespace sidestep::scheduler

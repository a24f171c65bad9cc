// The plan of a job: who holds which stage and which way each microbatch goes, made by the planner
// (planner/planner.h) out of what nodes measured. Pure and deterministic.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "net/messages.h"
#include "net/status.h"
#include "scheduler/job.h"
#include "scheduler/plan.h"
#include "scheduler/planner/planner.h"

namespace sidestep::scheduler {

struct PlacementNode {
  // Of memory, where the node has not said how much it has: it may have any amount.
  static constexpr std::uint64_t unknown_bytes = std::numeric_limits<std::uint64_t>::max();

  net::NodeKey key;
  std::string nickname;
  std::string problem;  // not empty: cannot take part, and why
  bool has_data = false;
  std::string data_problem;           // why has_data is false
  std::uint64_t memory_bytes = 0;     // that the daemon may use
  std::uint64_t daemon_bytes = 0;     // that it takes without a job
  std::int64_t layer_us = 0;          // forward and backward of one layer, one microbatch
  std::int64_t layer_forward_us = 0;  // of layer_us; 0: a third of it
  std::int64_t head_us = 0;
  std::vector<net::LinkSpeed> links = {};  // to others, as far as measured
};

struct PlacementRequest {
  std::uint64_t epoch = 0;
  JobSpec job;
  std::vector<PlacementNode> nodes;  // in key order
  // What planning may cost, in tasks simulated; more for hundreds of nodes. Part of what the plan follows
  // from, as a time would not be.
  std::uint64_t work = 20'000;
  // Not empty: who holds what is settled, only the routes are open. All of `nodes`; a stage that none holds
  // is out, and routes leave it out.
  std::map<net::NodeKey, std::vector<std::uint32_t>> stages_of = {};
};

// Whether a job could ever be placed on these nodes, from their memory and data alone; ok if they are fewer
// than the stages, for more may come. Errors: refused, with the sum of each stage and what each node has.
Status check_memory(const JobSpec& job, const std::vector<PlacementNode>& nodes);

// Each node holds at most one stage. Every stage gets at least one node, stage 0 only nodes with data. A node
// that no stage fits, or without which a step is as short, is left out; all others get microbatches. A node
// whose memory holds fewer slots than the job asks for gets as many as fit. Errors: refused, with what is
// missing and by how much ("4 stages need 4 nodes, 3 are alive"; "stage 0 needs a node with data/kjv.txt,
// none has it: b3f1: no such file"; memory).
Result<Plan> place(const PlacementRequest& request, const PlanMachine& machine = plain_machine());

}  // namespace sidestep::scheduler

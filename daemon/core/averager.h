// In-stage averaging of one stage at one replica: the accumulators of all replicas are cut into chunks,
// each chunk is reduced by one of them, summed in key order, and gathered by the others and by the stage's
// learners, all into a second buffer; accumulators and weights stay as they are until Commit. Design: "A
// step", 4. Pure.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "daemon/core/chunk_cut.h"
#include "daemon/core/job_context.h"

namespace sidestep::daemon {

class Averager {
 public:
  // `elements`: length of the stage's flat gradient.
  Averager(JobContext& context, std::uint32_t stage, std::uint64_t elements);

  void begin_step();
  // This replica has added all it will: `added`, in order.
  void on_gradient_complete(std::int64_t now_us, const std::vector<net::Added>& added);
  // A chunk from another replica; what does not fit is logged and dropped, repeats are dropped.
  void on_chunk(std::int64_t now_us, const net::NodeKey& peer, const net::AverageChunk& chunk);

  // This replica has begun: it has completed its own gradient.
  bool begun() const { return begun_; }
  // Nobody visits this stage in this step: no average, no update, but a report.
  bool unvisited() const { return visits_ == 0; }
  // For people: who is waited for; empty when done or not begun.
  std::string describe() const;

 private:
  bool alone() const { return cut_.replicas().size() == 1; }
  std::string objection(const net::NodeKey& peer, const net::AverageChunk& chunk) const;
  net::AverageChunk make_chunk(std::uint32_t chunk, net::AveragePhase phase, net::Tensor tensor) const;
  void on_exposed(std::int64_t now_us, const net::Tensor& gradient);
  void contribute_own();
  void reduce_if_ready(std::uint32_t chunk);
  void on_reduced(std::int64_t now_us, std::uint32_t chunk, const net::Tensor& average);
  void on_chunk_done();
  void report(std::int64_t now_us, const Completion& measured);
  bool failed(std::int64_t now_us, const Completion& completion) const;
  double scale() const;

  JobContext& context_;
  std::uint32_t stage_;
  std::vector<net::NodeKey> learners_;  // get the average too
  ChunkCut cut_;

  // Of the current step.
  std::map<net::NodeKey, std::uint32_t> visits_of_;  // microbatches that visit the stage there
  std::uint32_t visits_ = 0;                         // over all replicas
  bool begun_ = false;
  std::vector<net::Added> added_;
  std::map<std::uint32_t, std::map<net::NodeKey, net::Tensor>>
      contributions_;                 // by chunk owned here; ours are empty
  std::set<std::uint32_t> gathered_;  // chunks whose average has arrived from their owner
  std::uint32_t chunks_done_ = 0;     // in the second buffer
};

}  // namespace sidestep::daemon

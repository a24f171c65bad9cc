// The lead origin's book of one step: which microbatches are closed, which replicas hold their stage's
// average. When all are, it is the moment of Commit, and the book's page is the run record. Pure.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "daemon/core/job_context.h"
#include "scheduler/record.h"

namespace sidestep::daemon {

class Ledger {
 public:
  explicit Ledger(JobContext& context) : context_(context) {}

  void begin_step(std::int64_t now_us);
  // What does not fit the plan is logged and dropped, repeats are dropped.
  void on_closed(std::int64_t now_us, const net::NodeKey& peer, const net::MicrobatchClosed& closed);
  void on_report(std::int64_t now_us, const net::NodeKey& peer, const net::StageReport& report);

  // All microbatches closed and all stages averaged (step 0: all weights made), and not yet committed.
  bool ready() const;
  struct Page {
    scheduler::RecordStep record;
    bool skip_update = false;
    std::string skip_reason;  // which node, what was not finite
  };
  // Closes the page. Precondition: ready().
  Page commit(std::int64_t now_us);

  // For people: what the commit waits for; empty when ready.
  std::string describe() const;

 private:
  using Replica = std::pair<std::uint32_t, net::NodeKey>;  // stage, node

  std::string objection(const net::NodeKey& peer, const net::StageReport& report) const;
  static scheduler::RecordRoute to_record(const net::MicrobatchClosed& closed);

  JobContext& context_;
  std::int64_t began_us_ = 0;
  bool committed_ = false;
  std::optional<std::pair<std::uint64_t, std::int64_t>> last_commit_;  // its step, and when
  std::map<std::uint32_t, net::MicrobatchClosed> closed_;
  std::map<std::uint32_t, net::MicrobatchClosed> evaluated_;
  std::map<Replica, net::StageReport> reports_;
  std::set<Replica> awaited_;  // replicas that have not reported
};

}  // namespace sidestep::daemon

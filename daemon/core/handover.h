// How a job goes on under another plan. Every node that is left says to the new lead origin where it stands;
// the lead origin decides from which step on, so that whoever missed the last Commit gets it again, and tells
// everybody. What the scheduler has not stored of the run record, whoever keeps it hands over too.
// Design: "What keeps a step exact". Pure; owned by JobRun.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>

#include "daemon/core/job_context.h"

namespace sidestep::daemon {

class Handover {
 public:
  // report: gives a record, as Commit has it, to the scheduler.
  using Report = std::function<void(std::int64_t now_us, const nlohmann::json& kept)>;

  Handover(JobContext& context, Report report) : context_(context), report_(std::move(report)) {}

  // Origins keep the record of each commit until it is known to be stored.
  void keep(const net::Commit& commit);
  void forget_stored(std::uint64_t step);

  // The plan of the context is new: tells its lead origin that `next` is the step this node would work on.
  // The scheduler has stored the records up to `stored`.
  void begin(std::int64_t now_us, std::uint64_t next, std::optional<std::uint64_t> stored);
  // At the lead origin. When the last node has said where it stands, everybody gets Resume.
  void on_standing(std::int64_t now_us, const net::NodeKey& peer, const net::Standing& standing);

  // For people: who has not said yet where it stands; empty elsewhere than at the lead origin.
  std::string describe() const;

 private:
  // {"record", "end", "next_epoch"}, and its size written out.
  struct Kept {
    nlohmann::json record;
    std::size_t bytes = 0;
  };

  void resume(std::int64_t now_us);
  void add(std::uint64_t step, const nlohmann::json& record);
  void forget_first();

  JobContext& context_;
  Report report_;
  net::CommitTerms last_;                  // of the Commit applied here, or being applied
  std::map<std::uint64_t, Kept> records_;  // by step
  std::size_t records_bytes_ = 0;
  std::optional<std::uint64_t> stored_;  // the scheduler has the records up to this step
  std::map<net::NodeKey, net::Standing> standings_;
};

}  // namespace sidestep::daemon

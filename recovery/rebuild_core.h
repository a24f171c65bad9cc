// Puts a lost stage together again: pulls the layers of its neighbours' stages as they were after one commit,
// slice by slice and in step, and has each pair of slices averaged as it arrives, so that it needs the memory
// of the stage and a few slices; or pulls the stage's own mirror. Source: CheckFree, section 4; design.md,
// Recovery. Pure: messages, time and completions come in, actions go out.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "net/digest.h"
#include "net/messages.h"
#include "recovery/slice_puller.h"
#include "scheduler/job.h"
#include "scheduler/record.h"
#include "scheduler/sources.h"

namespace sidestep::recovery {

struct RebuildRequest {
  std::string job;
  scheduler::RecoverySpec recovery;
  net::NodeKey self;
  std::uint32_t stage = 0;              // to be rebuilt
  std::uint64_t elements = 0;           // of its flat weights
  std::uint64_t epoch = 0;              // of the plan that has it rebuilt
  std::optional<std::uint64_t> commit;  // whose states are taken, where it is known before the first offer
  std::uint64_t commit_max = 0;         // the job's last
  std::vector<scheduler::RebuildSource> sources;
};

// What is to be done. Combine and Finish are answered by on_combined and on_finished.
struct AskSlice {
  net::NodeKey to;
  net::SliceRequest request;
};
struct Combine {
  net::SnapshotPart part = net::SnapshotPart::weights;  // of the stage that is rebuilt
  std::uint64_t begin = 0;
  std::vector<std::pair<net::Tensor, double>> slices;  // and their weights
};
struct Finish {
  std::uint64_t commit = 0;
  std::uint64_t updates = 0;
  double gradient_norm = 0;
  double learning_rate_scale = 1;
  bool from_mirror = false;
};
// The stage cannot be rebuilt here; nothing more comes.
struct GiveUp {
  std::string why;
};
struct Tell {
  net::LogLevel level = net::LogLevel::info;
  std::string text;
};
using RebuildAction = std::variant<AskSlice, Combine, Finish, GiveUp, Tell>;
using RebuildActions = std::vector<RebuildAction>;

class RebuildCore {
 public:
  explicit RebuildCore(RebuildRequest request, PullOptions pull = {});

  // `name`: of the peer, for people. What does not fit is told and dropped, repeats are dropped.
  void on_offer(std::int64_t now_us, const net::NodeKey& peer, const std::string& name,
                const net::StateOffer& offer, RebuildActions& out);
  void on_slice(std::int64_t now_us, const net::NodeKey& peer, const net::Slice& slice, RebuildActions& out);
  void on_tick(std::int64_t now_us, RebuildActions& out);
  void on_combined(std::int64_t now_us, RebuildActions& out);
  void on_finished(std::int64_t now_us, RebuildActions& out);

  // Known from the first good offer on.
  std::optional<std::uint64_t> commit() const { return request_.commit; }
  bool done() const { return done_; }
  // What was done, for the run record. Precondition: done().
  scheduler::RecordRecovery record() const;
  std::string describe() const;

 private:
  struct Offer {
    net::NodeKey node;
    std::string name;
    net::StateOffer offer;
  };
  // One stage that this one is rebuilt from.
  struct Source {
    std::uint32_t stage = 0;
    std::vector<net::NodeKey> replicas;
    std::vector<Offer> offers;     // the first is pulled from
    std::set<net::NodeKey> heard;  // replicas that have answered
    std::string reasons;           // of those that are left
    // of the part under way
    std::optional<SlicePuller> puller;
    std::map<std::uint64_t, net::Tensor> waiting;  // for the other source's, by first element
    net::Checksum digest;
    double weight = 0;
  };

  std::string objection(const Source& source, const net::NodeKey& peer, const net::StateOffer& offer) const;
  void begin_if_offered(std::int64_t now_us, RebuildActions& out);
  void begin_part(std::int64_t now_us, RebuildActions& out);
  void combine_arrived(std::int64_t now_us, RebuildActions& out);
  void end_part(std::int64_t now_us, RebuildActions& out);
  // The replica that is pulled from is left; the part begins anew with the next one.
  void leave_replica(std::int64_t now_us, Source& source, const std::string& why, RebuildActions& out);
  void finish_if_combined(RebuildActions& out);
  void give_up(const std::string& why, RebuildActions& out);
  void tick_pullers(std::int64_t now_us, RebuildActions& out);
  std::size_t parts() const;
  // The stage's mirror is pulled.
  bool is_own() const { return sources_.size() == 1 && sources_.front().stage == request_.stage; }
  std::uint64_t limit() const;

  RebuildRequest request_;
  PullOptions pull_;
  std::vector<Source> sources_;
  std::vector<scheduler::RecordRecovery::Source> weighed_;
  std::optional<std::int64_t> first_offer_us_;
  bool begun_ = false, finishing_ = false, done_ = false, given_up_ = false;
  std::size_t part_ = 0;
  std::uint64_t next_ = 0;           // first element of the part that is not combined yet
  std::size_t combining_ = 0;        // Combine actions not answered
  Finish finish_;                    // but for its commit
  std::uint64_t source_commit_ = 0;  // whose states are taken; a mirror's is an earlier one
  std::uint64_t bytes_ = 0;
  std::int64_t end_us_ = 0;
};

}  // namespace sidestep::recovery

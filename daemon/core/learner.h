// A stage that this node is to hold and does not yet: pulls its state as it was after one commit from the
// stage's replicas, takes in the average of each later step meanwhile, and makes those updates in order until
// it is level with the replicas. Nobody waits for it. Design: "What keeps a step exact", joining. Pure; owned
// by JobRun.
#pragma once

#include <map>
#include <optional>

#include "daemon/core/lesson.h"
#include "recovery/slice_puller.h"

namespace sidestep::daemon {

class Learner : public Lesson {
 public:
  // `elements`: length of the stage's flat weights.
  Learner(JobContext& context, std::uint32_t stage, std::uint64_t elements, LessonBegin begin, Ports ports);

  void on_offer(std::int64_t now_us, const net::NodeKey& peer, const net::StateOffer& offer) override;
  void on_slice(std::int64_t now_us, const net::NodeKey& peer, const net::Slice& slice) override;
  void on_chunk(std::int64_t now_us, const net::NodeKey& peer, const net::AverageChunk& chunk) override;
  void on_commit(std::int64_t now_us, bool skip_update) override;
  // The step under way may have been committed: then its average is still that of the plan before.
  void on_change() override { find_step(context_.step); }
  void on_resume(std::int64_t now_us, std::uint64_t step) override;
  void on_tick(std::int64_t now_us) override;

  std::optional<std::uint64_t> base() const override { return base_; }
  // Has made every update up to the last commit that it heard of.
  bool level() const override { return loaded_ && (steps_.empty() || !steps_.begin()->second.committed); }
  std::string describe() const override;

 private:
  struct Step {
    std::uint64_t epoch;
    ChunkCut cut;
    std::uint32_t visits;  // over all replicas
    std::map<std::uint32_t, net::Tensor> chunks;
    bool committed = false;
    bool skip_update = false;
  };

  // Made, by the context's plan, where there is none; null for an earlier step that is over.
  Step* find_step(std::uint64_t step);
  std::string objection(const Step& step, const net::NodeKey& peer, const net::AverageChunk& chunk) const;
  void begin_pull(std::int64_t now_us);
  recovery::SlicePuller puller(std::size_t part);
  void finish_if_stored();
  void on_finished(std::int64_t now_us, const Completion& done);
  void send(const std::vector<recovery::SlicePuller::Outgoing>& requests) const;
  void advance();

  std::uint64_t elements_;
  std::uint64_t epoch_;

  std::optional<std::uint64_t> base_;
  std::map<net::NodeKey, net::StateOffer> offers_;
  std::optional<std::int64_t> first_offer_us_;
  std::vector<recovery::SlicePuller> pulls_;  // one for each part, once begun
  const net::Slice* incoming_ = nullptr;      // while a puller takes it
  std::size_t storing_ = 0;                   // StoreState tasks under way
  bool finishing_ = false;
  bool loaded_ = false;
  std::map<std::uint64_t, Step> steps_;  // not made here yet, the one under way among them if it has chunks
  std::uint64_t next_ = 0;               // the step whose update is next
  bool catching_up_ = false;             // a CatchUp is under way
};

}  // namespace sidestep::daemon

// A stage that nobody holds any more, put together again at this node: what recovery::RebuildCore wants done,
// done with messages and tasks.
#pragma once

#include "daemon/core/lesson.h"
#include "recovery/rebuild_core.h"

namespace sidestep::daemon {

class Rebuild : public Lesson {
 public:
  // `elements`: length of the stage's flat weights. Precondition: the context's plan has the stage out, and
  // something to rebuild it from.
  Rebuild(JobContext& context, std::uint32_t stage, std::uint64_t elements, LessonBegin begin, Ports ports);

  void on_offer(std::int64_t now_us, const net::NodeKey& peer, const net::StateOffer& offer) override;
  void on_slice(std::int64_t now_us, const net::NodeKey& peer, const net::Slice& slice) override;
  // Routes leave the stage out: there are no averages, and no commit changes it.
  void on_chunk(std::int64_t, const net::NodeKey&, const net::AverageChunk&) override {}
  void on_commit(std::int64_t, bool) override {}
  void on_tick(std::int64_t now_us) override;

  std::optional<std::uint64_t> base() const override { return core_.commit(); }
  bool level() const override { return core_.done(); }
  std::optional<scheduler::RecordRecovery> recovery() const override { return core_.record(); }
  std::string describe() const override { return core_.describe(); }

 private:
  void act(std::int64_t now_us, recovery::RebuildActions actions);

  recovery::RebuildCore core_;
};

}  // namespace sidestep::daemon

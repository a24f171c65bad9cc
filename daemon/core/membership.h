// This node's standing with the scheduler: greeting or member of a view. Heartbeats go out, terms
// fence off copies of the scheduler. Pure; owned by NodeCore.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "daemon/core/node_core.h"

namespace sidestep::daemon {

class Membership {
 public:
  explicit Membership(const NodeOptions& options) : options_(options) {}

  // What the caller has to do about an event.
  struct Outcome {
    bool joined = false;        // a Welcome was taken: repeat everything to the scheduler now
    bool view_changed = false;  // view() is new
    bool excluded = false;      // declared dead: drop all state, join anew
    std::vector<std::pair<net::LogLevel, std::string>> lines;  // for the log
  };

  Outcome on_welcome(std::int64_t now_us, const net::Welcome& welcome);
  Outcome on_view(const net::ViewUpdate& update);
  Outcome on_heartbeat_reply(std::int64_t now_us, const net::HeartbeatReply& reply);
  // Hello or Heartbeat, when due.
  std::optional<net::Message> on_tick(std::int64_t now_us, std::optional<net::JobProgress> progress,
                                      Outcome& outcome);

  bool is_member() const { return standing_ == Standing::member; }
  // The run of the scheduler that is followed; 0 before the first Welcome.
  net::BootId scheduler_boot() const { return scheduler_boot_; }
  const net::View& view() const { return view_; }

 private:
  enum class Standing { greeting, member };

  // Errors: why a scheduler of this term and boot is not ours.
  std::string objection(std::uint64_t term, net::BootId boot) const;
  // Says so once for each run of a scheduler.
  void object(std::string why, net::BootId boot, Outcome& outcome);
  void take_view(net::View view, Outcome& outcome);

  const NodeOptions& options_;
  Standing standing_ = Standing::greeting;
  std::uint64_t term_ = 0;
  net::BootId scheduler_boot_ = 0;
  net::View view_;
  std::int64_t heartbeat_us_ = 200'000;
  std::int64_t next_due_us_ = 0;
  std::int64_t heard_us_ = 0;
  bool silence_logged_ = false;
  net::BootId objected_ = 0;  // the run of a scheduler that was objected to last
  std::uint64_t sequence_ = 0;
};

}  // namespace sidestep::daemon

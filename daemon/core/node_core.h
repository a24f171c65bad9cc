// The mind of one daemon: events in, actions out. It holds no socket, thread, clock or tensor; the real
// driver and the simulated cluster run the same one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "daemon/core/tasks.h"
#include "net/bus.h"
#include "net/courier.h"
#include "net/messages.h"

namespace sidestep::daemon {

struct NodeOptions {
  net::NodeKey key;
  net::BootId boot = 0;
  net::NodeKey scheduler;
  std::string nickname;
  std::string data_address;  // advertised
  net::Resources resources;
  std::int64_t wall_offset_us = 0;  // wall clock minus monotonic clock at start
  std::int64_t hello_repeat_us = 1'000'000;
  // A refusal counts after this long: another run of this key that the scheduler still takes to be alive may
  // have ended, and the scheduler needs its silence limit to see that.
  std::int64_t refusal_patience_us = 7'000'000;
  std::int64_t slot_deadline_us =
      500'000;                         // a forward waits so long for a slot, or as planned, then recomputes
  std::int64_t chunk_bytes = 1 << 20;  // of in-stage averaging
  net::CourierOptions control_courier{500'000, 4'000'000};
  net::CourierOptions data_courier{500'000, 4'000'000};
  std::uint64_t log_lines_max = 10'000;  // kept while the scheduler is away; older ones go first
};

// Give to the executor.
struct StartTask {
  TaskId id = 0;
  Task task;
};

// The nodes this one exchanges data with from now on, and who may connect to its data socket
// beside them; others are shut out. A key that is both counts as a member.
struct SetPeers {
  std::vector<net::Member> members;
  std::vector<net::Guest> guests = {};
};

// For the local log; the core ships the same line to the scheduler.
struct WriteLog {
  net::LogLine line;
};

// End the process. status 0: asked to; 1: refused by the scheduler.
struct Stop {
  int status = 0;
  std::string reason;
  bool at_once = false;  // as if killed: nothing more is sent or written
};

using NodeAction = std::variant<net::Send, StartTask, SetPeers, WriteLog, Stop>;
using NodeOutbox = std::vector<NodeAction>;

class NodeCore {
 public:
  explicit NodeCore(NodeOptions options);
  ~NodeCore();
  NodeCore(const NodeCore&) = delete;
  NodeCore& operator=(const NodeCore&) = delete;

  // Once, first.
  void on_start(std::int64_t now_us, NodeOutbox& out);
  void on_message(std::int64_t now_us, const net::NodeKey& peer, net::Channel channel,
                  const net::Envelope& envelope, NodeOutbox& out);
  // At least every 50 ms.
  void on_tick(std::int64_t now_us, NodeOutbox& out);
  void on_completion(std::int64_t now_us, const Completion& completion, NodeOutbox& out);
  // A line from the driver (garbage dropped, a signal received) for the log.
  void on_note(std::int64_t now_us, net::LogLevel level, const std::string& text, NodeOutbox& out);
  // SIGTERM, or a cloud that takes the machine back: asks the scheduler for others to take this node's stages
  // over, then Stop; after `grace_us`, asked again, or without a job, says goodbye and stops at once.
  void on_stop(std::int64_t now_us, const std::string& reason, std::int64_t grace_us, NodeOutbox& out);

  // Aborts when an invariant does not hold; the simulator calls it after every event.
  void check_invariants() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sidestep::daemon

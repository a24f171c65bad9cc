// Delivery on top of a bus that promises none: what is posted is repeated until its Ack comes or it
// is dropped as out of date. Pure: time comes in, Sends go out. One courier per core.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "net/bus.h"
#include "net/messages.h"

namespace sidestep::net {

// The one action that cores of every kind give.
struct Send {
  NodeKey peer;
  Channel channel = Channel::control;
  Envelope envelope;
  std::optional<BootId> only_boot = {};  // set: Bus::send_to_boot, else Bus::send
};

struct CourierOptions {
  std::int64_t first_repeat_us = 500 * 1000;
  std::int64_t repeat_us_max = 4'000 * 1000;  // doubles from first_repeat_us up to this
  // A tensor is given the time on top that it takes at this speed, with all that are on their way before it.
  double slowest_bytes_per_us = 0.25;
  // Of averages, that are on their way to one peer; the others wait here. What is queued further down delays
  // all that comes after it, acknowledgements too.
  std::uint64_t bulk_bytes_max = 16u << 20;
};

class Courier {
 public:
  Courier(BootId boot, CourierOptions options) : boot_(boot), options_(options) {}

  // Sends at `now_us` and keeps it for repeats.
  void post(std::int64_t now_us, const NodeKey& peer, Channel channel, Message message,
            std::vector<Send>& out, std::optional<BootId> only_boot = {});
  // Sends once; nothing is kept.
  void send_once(const NodeKey& peer, Channel channel, Message message, std::vector<Send>& out,
                 std::optional<BootId> only_boot = {}) const;
  // Acks what a peer sent, to the boot that sent it; call for every envelope with an id, also for
  // repeats.
  void acknowledge(const NodeKey& peer, Channel channel, const Envelope& envelope,
                   std::vector<Send>& out) const;

  // What an Ack says about the way to a peer.
  struct Arrived {
    std::size_t tensor_bytes = 0;
    std::int64_t sent_us = 0;
  };
  // Calls `arrived` for each letter whose round trip the Ack tells: it was sent only once, or one could not
  // know which of its copies is acknowledged (Karn's rule), and went to a peer for which no tensor was on its
  // way, or it waited behind that.
  void on_ack(const NodeKey& peer, const Ack& ack, const std::function<void(const Arrived&)>& arrived = {});
  // Sends what has waited here and may go now; call it after on_ack().
  void go_on(std::int64_t now_us, const NodeKey& peer, std::vector<Send>& out);
  // Repeats what is due, and goes on with all peers.
  void on_tick(std::int64_t now_us, std::vector<Send>& out);
  // Sends everything for `peer` again now: it has come back or has been let in.
  void hurry(std::int64_t now_us, const NodeKey& peer, std::vector<Send>& out);
  // Forgets what nobody needs any more.
  void drop_if(const std::function<bool(const NodeKey& peer, const Message&)>& out_of_date);

  std::size_t waiting() const { return letters_.size(); }
  std::size_t count_if(const std::function<bool(const NodeKey& peer, const Message&)>& wanted) const;

 private:
  struct Letter {
    NodeKey peer;
    Channel channel;
    Envelope envelope;
    std::optional<BootId> only_boot;
    std::int64_t sent_us = 0;  // first
    std::int64_t due_us = 0;
    std::int64_t first_wait_us = 0;
    std::int64_t wait_us = 0;
    bool held = false;  // not sent yet
    bool tells_round_trip = false;
  };

  bool may_go(const Letter& letter) const;
  void launch(std::int64_t now_us, Letter& letter, std::vector<Send>& out);
  void forget(const Letter& letter);

  BootId boot_;
  CourierOptions options_;
  std::uint64_t next_id_ = 1;
  std::map<std::uint64_t, Letter> letters_;  // by id: repeats go out in order of posting
  // Of tensors that were sent and are not acknowledged: bytes of all, of averages by peer; then who waits.
  std::uint64_t on_way_bytes_ = 0;
  std::map<NodeKey, std::uint64_t> bulk_bytes_;
  std::map<NodeKey, std::size_t> tensors_to_;  // how many, by peer; none: no entry
  std::map<NodeKey, std::deque<std::uint64_t>> held_;
};

}  // namespace sidestep::net

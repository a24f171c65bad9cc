// A Bus that forwards everything to another one, what goes over an emulated link as late as the link says:
// on the sender's side, so that a swarm on one machine, or in one rack, behaves as if it were far apart.
// Jitter and loss are drawn from a seed; the same sends at the same times are delayed alike.
// The clock and the timer come from outside. Lifetime: the other bus outlives it; what is still on its way
// when this one goes is lost. One thread, that of the other bus.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "net/bus.h"
#include "net/random.h"

namespace sidestep::net {

// One direction of a link, on one channel. All zeros: messages are passed on at once.
struct EmulatedLink {
  std::int64_t latency_us = 0;
  double bytes_per_us = 0;  // bandwidth; 0: no limit
  std::int64_t transfer_us =
      0;  // of a MicrobatchHop or a probe of any size, in place of those above; 0: they count
  std::int64_t jitter_us = 0;  // a message takes up to this much longer, drawn evenly
  double loss = 0;             // share of the messages that never arrive
  bool fifo = false;  // messages queue for the bandwidth, or the transfer, and keep their order; else two
                      // messages share nothing and may overtake each other
  std::uint64_t seed = 0;
};

class EmulatedBus : public Bus {
 public:
  using Clock = std::function<std::int64_t()>;
  // Asked to have on_timer() called at `due_us`, or later; takes the place of what it was asked before.
  using Timer = std::function<void(std::int64_t due_us)>;

  EmulatedBus(Bus& bus, Clock clock, Timer timer)
      : bus_(bus), clock_(std::move(clock)), timer_(std::move(timer)) {}

  // Counts for what is sent to the peer from now on, until it is removed. Peers without a link are passed on
  // to at once.
  void set_link(const NodeKey& peer, Channel channel, const EmulatedLink& link);
  // Passes on what is due.
  void on_timer();

  void set_handlers(Handlers handlers) override { bus_.set_handlers(std::move(handlers)); }
  void add_peer(const NodeKey& peer, Channel channel, const std::string& address) override {
    bus_.add_peer(peer, channel, address);
  }
  // What is on its way to the peer is lost, as its connection is.
  void remove_peer(const NodeKey& peer, Channel channel) override;
  void send(const NodeKey& peer, Channel channel, const Envelope& envelope) override;
  void send_to_boot(const NodeKey& peer, BootId boot, Channel channel, const Envelope& envelope) override;

 private:
  using LinkName = std::pair<NodeKey, Channel>;
  struct Link {
    EmulatedLink options;
    Random random;
    std::int64_t free_at_us = 0;  // fifo: its bandwidth is taken until then
    std::int64_t last_arrival_us = 0;
  };
  struct Held {
    LinkName link;
    std::function<void()> forward;
  };

  void pass(const LinkName& name, const Envelope& envelope, std::function<void()> forward);
  static std::int64_t arrival_us(Link& link, std::int64_t now_us, const Envelope& envelope);

  Bus& bus_;
  Clock clock_;
  Timer timer_;
  std::map<LinkName, Link> links_;
  std::uint64_t next_held_ = 0;
  std::map<std::pair<std::int64_t, std::uint64_t>, Held> held_;  // by time, then sending
};

}  // namespace sidestep::net

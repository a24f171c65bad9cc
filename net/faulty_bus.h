// A Bus that forwards everything to another one and breaks what it is told to. For tests of real
// processes and of drivers; the simulator has its own faults. Lifetime: the other bus outlives it.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "net/bus.h"

namespace sidestep::net {

class FaultyBus : public Bus {
 public:
  enum class Fault { none, drop, repeat, hold };
  // Asked for each message sent.
  using Decide = std::function<Fault(const NodeKey& peer, Channel channel, const Envelope& envelope)>;

  FaultyBus(Bus& bus, Decide decide) : bus_(bus), decide_(std::move(decide)) {}

  // Sends what was held, in the order in which it came, past everything sent since.
  void release() {
    for (const auto& forward : std::exchange(held_, {})) forward();
  }

  void set_handlers(Handlers handlers) override { bus_.set_handlers(std::move(handlers)); }
  void add_peer(const NodeKey& peer, Channel channel, const std::string& address) override {
    bus_.add_peer(peer, channel, address);
  }
  void remove_peer(const NodeKey& peer, Channel channel) override { bus_.remove_peer(peer, channel); }
  void send(const NodeKey& peer, Channel channel, const Envelope& envelope) override {
    apply(peer, channel, envelope, [=, this] { bus_.send(peer, channel, envelope); });
  }
  void send_to_boot(const NodeKey& peer, BootId boot, Channel channel, const Envelope& envelope) override {
    apply(peer, channel, envelope, [=, this] { bus_.send_to_boot(peer, boot, channel, envelope); });
  }

 private:
  void apply(const NodeKey& peer, Channel channel, const Envelope& envelope, std::function<void()> forward) {
    switch (decide_(peer, channel, envelope)) {
      case Fault::none:
        return forward();
      case Fault::drop:
        return;
      case Fault::repeat:
        forward();
        return forward();
      case Fault::hold:
        held_.push_back(std::move(forward));
        return;
    }
  }

  Bus& bus_;
  Decide decide_;
  std::vector<std::function<void()>> held_;
};

}  // namespace sidestep::net

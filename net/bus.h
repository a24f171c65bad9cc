// How messages get from node to node: best effort, never blocking, in order per link at most.
// Whoever needs delivery uses a Courier on top. Implementations: ZmqBus (TCP with CURVE, inproc), SimBus
// (virtual time, seeded faults), FaultyBus (breaks what passes it), EmulatedBus (delays what passes it).
// One thread owns a bus and calls everything on it; handlers are called on that thread.
#pragma once

#include <functional>
#include <string>

#include "net/messages.h"
#include "net/status.h"

namespace sidestep::net {

// Control and data travel on separate sockets, so that a large tensor never delays a heartbeat.
enum class Channel : std::uint8_t { control = 0, data = 1 };

class Bus {
 public:
  struct Handlers {
    // `peer` is the authenticated key of the sender (the ZAP user id), not what the message claims.
    std::function<void(const NodeKey& peer, Channel, Envelope)> on_message;
    // The last connection of `peer` on `channel` was closed by its side.
    std::function<void(const NodeKey& peer, Channel)> on_disconnect;
    // Something was dropped or refused: garbage, an unknown key, a full queue. For the log.
    std::function<void(const std::string& what)> on_dropped;
  };

  virtual ~Bus() = default;

  virtual void set_handlers(Handlers handlers) = 0;

  // Lets `peer` connect to us and gives the address ("host:port") at which we reach it; an empty
  // address means that it always connects to us (a node at the scheduler).
  virtual void add_peer(const NodeKey& peer, Channel, const std::string& address) = 0;
  // Closes what there is and refuses the key from now on.
  virtual void remove_peer(const NodeKey& peer, Channel) = 0;

  // Queues the envelope; returns at once. What cannot be queued is dropped and counted.
  // Where the peer connects to us, it goes to the run of the peer that was heard from last.
  virtual void send(const NodeKey& peer, Channel, const Envelope& envelope) = 0;
  // The same, to this run of the peer only: a second daemon with the same key can be told so, and an
  // operator's two terminals each get their own replies.
  virtual void send_to_boot(const NodeKey& peer, BootId boot, Channel, const Envelope& envelope) = 0;
};

}  // namespace sidestep::net

// The real Bus: ZeroMQ sockets driven from an Asio loop. Every TCP connection is CURVE and admits known
// keys only. On each channel a side may bind a ROUTER, at which peers connect, and connects a DEALER to
// each peer that was added with an address.
//   control: the scheduler binds; nodes and operators connect, and are answered on their connection.
//   data:    every node binds and connects to every peer; what goes to a peer goes by our own DEALER.
// Owner: the driver. One thread: that which runs the loop; handlers are called from it, all but on_dropped
// never from within a call, and may call anything here but the destructor.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <zmq.hpp>

#include "net/bus.h"
#include "net/codec.h"
#include "net/drop_log.h"
#include "net/keys.h"
#include "net/strangers.h"
#include "net/zap.h"
#include "net/zmq_link.h"
#include "net/zmq_monitor.h"

namespace sidestep::net {

struct ZmqBusOptions {
  KeyPair keys;
  std::string control_bind;  // "host:port", port 0: any free one; empty: nobody connects to us here
  std::string data_bind;
  CodecLimits limits = {};
  int queue_messages_max = 256;  // per peer and channel; what comes on top is dropped
  // Set by tests only: buses that share it reach each other at "inproc://NAME" as well, in plain and
  // without disconnects; they must not bind TCP, for a context authenticates for one bus only.
  std::shared_ptr<zmq::context_t> inproc_context = nullptr;
};

struct LinkReport {
  LinkState state = LinkState::connecting;
  std::string reason;  // for people
};

class ZmqBus : public Bus {
 public:
  // Errors: invalid (no such address), refused or io (the address cannot be bound; the message names it
  // and says what to do).
  static Result<std::unique_ptr<ZmqBus>> create(boost::asio::io_context& io, ZmqBusOptions options);
  // Gives what is queued for connected peers a moment to leave.
  ~ZmqBus() override;

  void set_handlers(Handlers handlers) override;
  void add_peer(const NodeKey& peer, Channel channel, const std::string& address) override;
  void remove_peer(const NodeKey& peer, Channel channel) override;
  void send(const NodeKey& peer, Channel channel, const Envelope& envelope) override;
  void send_to_boot(const NodeKey& peer, BootId boot, Channel channel, const Envelope& envelope) override;

  const NodeKey& key() const { return options_.keys.public_key; }
  // Where we are bound, with the real port; empty if we are not.
  const std::string& bound_address(Channel channel) const { return side(channel).bound_address; }
  // How it stands with a peer; for messages such as "nothing listens at 10.0.0.4:7001".
  LinkReport link_report(const NodeKey& peer, Channel channel) const;
  std::uint64_t dropped() const { return drop_log_.total(); }

 private:
  // One connection of a peer to our ROUTER, known from the first message on.
  struct Connection {
    int fd = -1;
    std::string routing_id;
    bool closed = false;  // forgotten, and reported, once all that came by it has been handled
  };
  struct Peer {
    std::unique_ptr<Link> link;  // none: it connects to us
    std::map<BootId, Connection> connections;
    BootId heard_last = 0;
  };
  // All of one channel.
  struct Side {
    explicit Side(Channel its_channel) : channel(its_channel) {}

    Channel channel;
    zmq::socket_t router;
    std::unique_ptr<SocketMonitor> monitor;
    std::unique_ptr<Pump> pump;
    std::string bound_address;
    bool is_curve = true;
    std::set<int> open_fds;
    bool any_closed = false;
    std::map<NodeKey, Peer> peers;
    Strangers strangers;
  };

  ZmqBus(boost::asio::io_context& io, ZmqBusOptions options);
  Status bind(Side& side, const std::string& address);
  LinkOptions link_options(const NodeKey& peer, Channel channel, const std::string& address) const;

  Side& side(Channel channel) { return channel == Channel::control ? control_ : data_; }
  const Side& side(Channel channel) const { return channel == Channel::control ? control_ : data_; }

  bool admits(std::string_view domain, const NodeKey& key, const std::string& address);
  void await_strangers();
  bool turn(Side& side);
  void on_router_event(Side& side, std::uint16_t event, std::int32_t value);
  void on_router_message(Side& side, Received& received);
  void note_connection(Side& side, Peer& peer, BootId boot, Received& received);
  void forget_closed(Side& side);
  void on_link_message(Side& side, const NodeKey& peer, Received& received);
  void on_link_down(Side& side, const NodeKey& peer);
  void report_disconnect(Side& side, const NodeKey& peer);
  void send_by(const NodeKey& key, Channel channel, std::optional<BootId> boot, const Envelope& envelope);
  void drop(const std::string& kind, const std::string& what);

  boost::asio::io_context& io_;
  ZmqBusOptions options_;
  std::shared_ptr<zmq::context_t> context_;
  Handlers handlers_;
  DropLog drop_log_;
  std::unique_ptr<ZapHandler> zap_;
  Side control_{Channel::control};
  Side data_{Channel::data};
  boost::asio::steady_timer stranger_timer_;
  std::shared_ptr<bool> gone_ = std::make_shared<bool>(false);
};

}  // namespace sidestep::net

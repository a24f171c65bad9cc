// One connecting DEALER to one peer: connects, tries again for ever, and can say what the matter is.
// Owner: a ZmqBus. Everything on the loop's thread; callbacks may destroy the link.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <zmq.hpp>

#include "net/keys.h"
#include "net/zmq_frames.h"
#include "net/zmq_monitor.h"
#include "net/zmq_pump.h"

namespace sidestep::net {

enum class LinkState : std::uint8_t {
  connecting,                 // not reached so far, or not any more
  tcp_connected,              // reached, the handshake is under way
  handshake_failed_auth,      // the other side does not admit our key
  handshake_failed_protocol,  // the other side does not hold the key we expect, or is something else
  up,
};

struct LinkOptions {
  KeyPair keys;          // ours
  NodeKey peer;          // whose key the other side must hold
  std::string address;   // for people
  std::string endpoint;  // for ZeroMQ
  bool is_ipv6 = false;
  std::uint64_t affinity = 0;  // I/O threads, a bit each
  std::int64_t message_bytes_max = 0;
  int queue_messages_max = 0;
  int ping_ms = 0;          // how often the other side is asked whether it lives
  int ping_timeout_ms = 0;  // and how long its answer may take: as long as the largest message
};

struct LinkCallbacks {
  std::function<void(Received&)> on_received;
  std::function<void()> on_down;  // was up, and is not any more
};

class Link {
 public:
  Link(boost::asio::io_context& io, zmq::context_t& context, LinkOptions options, LinkCallbacks callbacks);
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  // False: dropped, because the queue is full or the peer has been away for longer than the short while
  // for which messages wait.
  bool send(const Frames& frames);

  const std::string& address() const { return options_.address; }
  LinkState state() const { return state_; }
  // A sentence for people: "nothing listens at 10.0.0.4:7001".
  std::string reason() const;
  // What is still queued gets this long to leave when the link goes; 0 at first.
  void set_linger_ms(int linger_ms) { linger_ms_ = linger_ms; }

 private:
  bool is_curve() const { return !options_.endpoint.starts_with("inproc:"); }
  void open();
  void close();
  void open_again_later();
  bool turn();
  void on_event(std::uint16_t event);
  void become(LinkState state);

  boost::asio::io_context& io_;
  zmq::context_t& context_;
  LinkOptions options_;
  LinkCallbacks callbacks_;
  zmq::socket_t socket_;
  std::unique_ptr<SocketMonitor> monitor_;
  std::unique_ptr<Pump> pump_;
  boost::asio::steady_timer timer_;
  std::shared_ptr<bool> gone_ = std::make_shared<bool>(false);

  LinkState state_ = LinkState::connecting;
  std::int64_t away_since_us_ = 0;  // while not up
  std::int64_t retry_ms_ = 0;
  int linger_ms_ = 0;
  bool tried_ = false;      // a TCP connection was at least begun: the name has an address
  bool unreached_ = false;  // the last attempt found nobody
  bool unresolved_ = false;
  std::string unusable_;  // why ZeroMQ does not even try
};

}  // namespace sidestep::net

// What happens to the connections of one ZeroMQ socket. Made before the socket binds or connects, so
// that nothing is missed. Owner: whoever owns the socket, which outlives the monitor.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <zmq.hpp>

#include "net/zmq_pump.h"

namespace sidestep::net {

class SocketMonitor {
 public:
  // `event` is one of ZMQ_EVENT_*; `value` depends on it: a connection's descriptor, a status.
  using Handler = std::function<void(std::uint16_t event, std::int32_t value)>;

  // `handler` may destroy the monitor.
  SocketMonitor(boost::asio::io_context& io, zmq::context_t& context, zmq::socket_ref socket, int events,
                Handler handler);
  ~SocketMonitor();
  SocketMonitor(const SocketMonitor&) = delete;
  SocketMonitor& operator=(const SocketMonitor&) = delete;

  // Handles all events up to now.
  void drain();

 private:
  bool take_one();

  zmq::socket_ref watched_;
  zmq::socket_t events_;
  Handler handler_;
  std::shared_ptr<bool> gone_ = std::make_shared<bool>(false);
  std::unique_ptr<Pump> pump_;
};

}  // namespace sidestep::net

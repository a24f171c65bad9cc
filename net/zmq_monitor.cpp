#include "net/zmq_monitor.h"

#include <atomic>
#include <cstring>
#include <string>

#include "net/assert.h"

namespace sidestep::net {

SocketMonitor::SocketMonitor(boost::asio::io_context& io, zmq::context_t& context, zmq::socket_ref socket,
                             int events, Handler handler)
    : watched_(socket), events_(context, zmq::socket_type::pair), handler_(std::move(handler)) {
  // Contexts are shared in tests; the name has to be unique in one.
  static std::atomic<std::uint64_t> next{1};
  const std::string endpoint = "inproc://sidestep.monitor." + std::to_string(next++);
  SIDESTEP_ASSERT(zmq_socket_monitor(socket.handle(), endpoint.c_str(), events) == 0);
  events_.set(zmq::sockopt::linger, 0);
  events_.set(zmq::sockopt::rcvhwm, 0);  // a lost event would be a lost disconnect
  events_.connect(endpoint);
  pump_ = std::make_unique<Pump>(io, events_, [this] {
    drain();
    return false;
  });
}

SocketMonitor::~SocketMonitor() {
  *gone_ = true;
  pump_.reset();
  zmq_socket_monitor(watched_.handle(), nullptr, 0);
}

void SocketMonitor::drain() {
  const std::shared_ptr<bool> gone = gone_;
  while (!*gone && take_one()) {
  }
}

bool SocketMonitor::take_one() {
  // Two frames: the event (16 bits) with its value (32 bits), and the endpoint.
  zmq::message_t event;
  zmq::message_t endpoint;
  if (!events_.recv(event, zmq::recv_flags::dontwait)) return false;
  if (!event.more() || !events_.recv(endpoint, zmq::recv_flags::dontwait)) return false;
  std::uint16_t number = 0;
  std::int32_t value = 0;
  SIDESTEP_ASSERT(event.size() == sizeof number + sizeof value);
  std::memcpy(&number, event.data(), sizeof number);
  std::memcpy(&value, static_cast<const char*>(event.data()) + sizeof number, sizeof value);
  const Handler handler = handler_;  // it may destroy us, and must itself live until it returns
  handler(number, value);
  return true;
}

}  // namespace sidestep::net

// Joins a ZeroMQ socket to an Asio loop. ZMQ_FD only says that something happened since the last look,
// and a send may use that up; so a turn always takes everything that is ready, and whoever sends on a
// socket that is also received from calls schedule() afterwards.
// Owner: whoever owns the socket, which outlives the pump. Everything on the loop's thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <zmq.hpp>

namespace sidestep::net {

// Of every socket of the bus.
constexpr int handshake_timeout_ms = 10'000;
constexpr int messages_per_turn_max = 64;  // for fairness

class Pump {
 public:
  // `turn` takes what is ready, up to a bound for fairness, and says whether there may be more.
  // It may destroy the pump.
  Pump(boost::asio::io_context& io, zmq::socket_ref socket, std::function<bool()> turn);
  ~Pump();
  Pump(const Pump&) = delete;
  Pump& operator=(const Pump&) = delete;

  // Takes a turn soon.
  void schedule();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace sidestep::net

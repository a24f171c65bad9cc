#include "net/zmq_pump.h"

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>

namespace sidestep::net {

// Handlers under way keep it alive after the pump has gone.
struct Pump::State : std::enable_shared_from_this<State> {
  State(boost::asio::io_context& loop, int fd, std::function<bool()> take_turn)
      : io(loop), descriptor(loop, fd), turn(std::move(take_turn)) {}

  boost::asio::io_context& io;
  boost::asio::posix::stream_descriptor descriptor;
  std::function<bool()> turn;
  bool closed = false;
  bool waiting = false;
  bool posted = false;

  void run() {
    if (closed) return;
    const bool more = turn();
    if (closed) return;
    if (more)
      post();
    else
      wait();
  }

  void post() {
    if (posted) return;
    posted = true;
    boost::asio::post(io, [self = shared_from_this()] {
      self->posted = false;
      self->run();
    });
  }

  void wait() {
    if (waiting) return;
    waiting = true;
    descriptor.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                          [self = shared_from_this()](const boost::system::error_code& error) {
                            self->waiting = false;
                            if (!error) self->run();
                          });
  }
};

Pump::Pump(boost::asio::io_context& io, zmq::socket_ref socket, std::function<bool()> turn)
    : state_(std::make_shared<State>(io, socket.get(zmq::sockopt::fd), std::move(turn))) {
  state_->post();
}

Pump::~Pump() {
  state_->closed = true;
  state_->descriptor.release();  // the descriptor is ZeroMQ's to close
}

void Pump::schedule() { state_->post(); }

}  // namespace sidestep::net

// Who may connect: answers ZeroMQ's authentication requests (RFC 27) on inproc://zeromq.zap.01 of one
// context. The user id of every message on an admitted connection is then the key, in hexadecimal.
// One per context; made before any socket binds: without it ZeroMQ would let everybody in.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <zmq.hpp>

#include "net/node_key.h"
#include "net/zmq_pump.h"

namespace sidestep::net {

class ZapHandler {
 public:
  enum class Verdict {
    admit,
    refuse,  // 400: the other side is told and does not try again by itself
    later,   // 300: the connection is closed and tried again
  };
  // `domain` is the ZAP domain of the socket, `address` the IP address of the other side.
  using Judge =
      std::function<Verdict(std::string_view domain, const NodeKey& key, const std::string& address)>;

  // Throws zmq::error_t if the context has a handler already.
  ZapHandler(boost::asio::io_context& io, zmq::context_t& context, Judge judge);

 private:
  bool turn();

  zmq::socket_t socket_;
  Judge judge_;
  std::unique_ptr<Pump> pump_;
};

}  // namespace sidestep::net

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
  // Whether to admit `key`. `domain` is the ZAP domain of the socket, `address` the IP address of the
  // other side. Who is refused is told so (400). A temporary refusal (300) would be of no use: libzmq
  // 4.3.4 may leave such a connection open until its handshake times out.
  using Judge = std::function<bool(std::string_view domain, const NodeKey& key, const std::string& address)>;

  // Throws zmq::error_t if the context has a handler already.
  ZapHandler(boost::asio::io_context& io, zmq::context_t& context, Judge judge);

 private:
  bool turn();

  zmq::socket_t socket_;
  Judge judge_;
  std::unique_ptr<Pump> pump_;
};

}  // namespace sidestep::net

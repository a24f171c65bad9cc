// Frames to and from ZeroMQ sockets without copying what is large. Everything without waiting.
#pragma once

#include <string>
#include <zmq.hpp>

#include "net/codec.h"

namespace sidestep::net {

enum class Sent {
  yes,
  queue_full,
  no_such_peer,  // a ROUTER has no connection of that routing id
};

// `routing_id` goes first when it is not empty.
Sent send_frames(zmq::socket_ref socket, const std::string& routing_id, const Frames& frames);

struct Received {
  std::string routing_id;  // of a ROUTER
  std::string user_id;     // of the ZAP reply; empty where there was none
  int fd = -1;             // the connection it came by, as monitors name it; -1: none (inproc)
  Frames frames;
  bool too_many_frames = false;  // then `frames` is cut short
};

// False: nothing there. `with_routing_id` for a ROUTER.
bool receive_frames(zmq::socket_ref socket, bool with_routing_id, Received& received);

}  // namespace sidestep::net

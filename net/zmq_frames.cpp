#include "net/zmq_frames.h"

#include <cstring>
#include <memory>

namespace sidestep::net {
namespace {

constexpr std::size_t copied_bytes_max = 512;  // below this a copy is cheaper than sharing
constexpr std::size_t frames_max = 16;
constexpr std::size_t alignment = 8;  // of any element of a tensor

zmq::message_t message_of(const Payload& payload) {
  if (payload.size() <= copied_bytes_max) return zmq::message_t(payload.data(), payload.size());
  // ZeroMQ never writes to it; the I/O thread lets go of the owner when the frame is sent.
  auto* owner = new std::shared_ptr<const void>(payload.owner());
  return zmq::message_t(
      const_cast<std::byte*>(payload.data()), payload.size(),
      [](void*, void* hint) { delete static_cast<std::shared_ptr<const void>*>(hint); }, owner);
}

Payload payload_of(zmq::message_t&& message) {
  const auto* bytes = static_cast<const std::byte*>(message.data());
  const bool aligned = reinterpret_cast<std::uintptr_t>(bytes) % alignment == 0;
  if (message.size() <= copied_bytes_max || !aligned)
    return Payload::from_bytes({bytes, bytes + message.size()});
  auto owner = std::make_shared<zmq::message_t>(std::move(message));
  const auto* data = static_cast<const std::byte*>(owner->data());
  const std::size_t size = owner->size();
  return {std::move(owner), data, size};
}

std::string property_of(const zmq::message_t& message, const char* name) {
  const char* value = zmq_msg_gets(message.handle(), name);
  return value == nullptr ? "" : value;
}

Sent send_part(zmq::socket_ref socket, zmq::message_t& message, bool more) {
  const auto flags = zmq::send_flags::dontwait | (more ? zmq::send_flags::sndmore : zmq::send_flags::none);
  try {
    return socket.send(message, flags) ? Sent::yes : Sent::queue_full;
  } catch (const zmq::error_t& error) {
    if (error.num() == EHOSTUNREACH) return Sent::no_such_peer;
    throw;
  }
}

}  // namespace

Sent send_frames(zmq::socket_ref socket, const std::string& routing_id, const Frames& frames) {
  if (!routing_id.empty()) {
    zmq::message_t id(routing_id);
    if (const Sent sent = send_part(socket, id, true); sent != Sent::yes) return sent;
  }
  Sent result = Sent::yes;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    zmq::message_t message = message_of(frames[i]);
    const Sent sent = send_part(socket, message, i + 1 < frames.size());
    if (sent == Sent::yes) continue;
    if (i == 0 && routing_id.empty()) return sent;
    // Given up amid a message: ZeroMQ has undone it and skips the parts up to its end.
    result = sent;
  }
  return result;
}

bool receive_frames(zmq::socket_ref socket, bool with_routing_id, Received& received) {
  received = {};
  zmq::message_t message;
  if (!socket.recv(message, zmq::recv_flags::dontwait)) return false;
  if (with_routing_id) {
    received.routing_id = message.to_string();
    if (!message.more()) return true;
    if (!socket.recv(message, zmq::recv_flags::dontwait)) return true;
  }
  received.user_id = property_of(message, "User-Id");
  received.fd = zmq_msg_get(message.handle(), ZMQ_SRCFD);
  bool more = message.more();
  received.frames.push_back(payload_of(std::move(message)));
  while (more && socket.recv(message, zmq::recv_flags::dontwait)) {
    more = message.more();
    if (received.frames.size() < frames_max)
      received.frames.push_back(payload_of(std::move(message)));
    else
      received.too_many_frames = true;
  }
  return true;
}

}  // namespace sidestep::net

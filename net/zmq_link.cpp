#include "net/zmq_link.h"

#include <algorithm>
#include <chrono>

#include "net/clock.h"

namespace sidestep::net {
namespace {

// A message waits this long for a peer that is just starting or reconnecting; later ones would only
// arrive in a heap of stale ones.
constexpr std::int64_t hold_us = 2 * second;
constexpr int reconnect_ms = 100;
constexpr int reconnect_ms_max = 1'000;
constexpr int connect_timeout_ms = 5'000;
constexpr std::int64_t reopen_ms_first = 100;  // views reach two nodes at about the same time
constexpr std::int64_t reopen_ms_max = 3'000;

std::string bytes_of(const std::array<std::uint8_t, 32>& key) { return {key.begin(), key.end()}; }

}  // namespace

Link::Link(boost::asio::io_context& io, zmq::context_t& context, LinkOptions options, LinkCallbacks callbacks)
    : io_(io),
      context_(context),
      options_(std::move(options)),
      callbacks_(std::move(callbacks)),
      timer_(io),
      away_since_us_(monotonic_us()) {
  open();
}

Link::~Link() {
  *gone_ = true;
  close();
}

void Link::open() {
  socket_ = zmq::socket_t(context_, zmq::socket_type::dealer);
  socket_.set(zmq::sockopt::linger, 0);
  socket_.set(zmq::sockopt::affinity, options_.affinity);
  socket_.set(zmq::sockopt::maxmsgsize, options_.message_bytes_max);
  socket_.set(zmq::sockopt::sndhwm, options_.queue_messages_max);
  socket_.set(zmq::sockopt::rcvhwm, options_.queue_messages_max);
  if (is_curve()) {
    socket_.set(zmq::sockopt::ipv6, options_.is_ipv6);
    socket_.set(zmq::sockopt::reconnect_ivl, reconnect_ms);
    socket_.set(zmq::sockopt::reconnect_ivl_max, reconnect_ms_max);
    socket_.set(zmq::sockopt::connect_timeout, connect_timeout_ms);
    socket_.set(zmq::sockopt::handshake_ivl, handshake_timeout_ms);
    socket_.set(zmq::sockopt::heartbeat_ivl, options_.ping_ms);
    socket_.set(zmq::sockopt::heartbeat_timeout, options_.ping_timeout_ms);
    socket_.set(zmq::sockopt::tcp_keepalive, 1);
    socket_.set(zmq::sockopt::curve_serverkey, bytes_of(options_.peer.bytes));
    socket_.set(zmq::sockopt::curve_publickey, bytes_of(options_.keys.public_key.bytes));
    socket_.set(zmq::sockopt::curve_secretkey, bytes_of(options_.keys.secret_key.bytes()));
    monitor_ =
        std::make_unique<SocketMonitor>(io_, context_, socket_, ZMQ_EVENT_ALL,
                                        [this](std::uint16_t event, std::int32_t) { on_event(event); });
  } else {
    // Within one process there is no handshake to prove a key; the receiver takes the key from here.
    // The rest makes it unique among our sockets.
    const BootId unique = random_boot_id();
    std::string routing_id = bytes_of(options_.keys.public_key.bytes);
    routing_id.append(reinterpret_cast<const char*>(&unique), sizeof unique);
    socket_.set(zmq::sockopt::routing_id, routing_id);
    become(LinkState::up);
  }
  pump_ = std::make_unique<Pump>(io_, socket_, [this] { return turn(); });
  try {
    socket_.connect(options_.endpoint);
  } catch (const zmq::error_t& error) {
    unusable_ = error.what();  // an address that a peer advertised must not end us
  }
}

void Link::close() {
  pump_.reset();
  monitor_.reset();
  if (socket_) socket_.set(zmq::sockopt::linger, linger_ms_);
  socket_.close();
}

// ZeroMQ tries again by itself after a lost connection, and says so, but not after a refusal or a protocol
// error. Those may be put right at any time.
void Link::open_again_later() {
  retry_ms_ = std::clamp(2 * retry_ms_, reopen_ms_first, reopen_ms_max);
  timer_.expires_after(std::chrono::milliseconds(retry_ms_));
  timer_.async_wait([this, gone = gone_](const boost::system::error_code& error) {
    if (error || *gone || state_ == LinkState::up) return;
    close();
    open();
  });
}

bool Link::send(const Frames& frames) {
  if (state_ != LinkState::up && monotonic_us() - away_since_us_ > hold_us) return false;
  const Sent sent = send_frames(socket_, "", frames);
  if ((socket_.get(zmq::sockopt::events) & ZMQ_POLLIN) != 0) pump_->schedule();
  return sent == Sent::yes;
}

bool Link::turn() {
  const std::shared_ptr<bool> gone = gone_;
  Received received;
  for (int i = 0; i < messages_per_turn_max; ++i) {
    if (!receive_frames(socket_, false, received)) return false;
    callbacks_.on_received(received);
    if (*gone) return false;
  }
  return true;
}

void Link::on_event(std::uint16_t event) {
  const bool failed_before =
      state_ == LinkState::handshake_failed_auth || state_ == LinkState::handshake_failed_protocol;
  switch (event) {
    case ZMQ_EVENT_CONNECT_DELAYED:
      tried_ = true;
      break;
    case ZMQ_EVENT_CONNECTED:
      unreached_ = unresolved_ = false;
      // A failure stands until a handshake succeeds: between two attempts there is nothing better to say.
      if (!failed_before) become(LinkState::tcp_connected);
      break;
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
      retry_ms_ = 0;
      timer_.cancel();
      become(LinkState::up);
      break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
      become(LinkState::handshake_failed_auth);
      break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
      become(LinkState::handshake_failed_protocol);
      break;
    case ZMQ_EVENT_DISCONNECTED:
      open_again_later();
      if (state_ == LinkState::up) {
        become(LinkState::connecting);
        const auto on_down = callbacks_.on_down;  // it may destroy us
        if (on_down) on_down();
      } else if (state_ == LinkState::tcp_connected) {
        become(LinkState::handshake_failed_protocol);
      }
      break;
    case ZMQ_EVENT_CLOSED:  // an attempt to connect found nobody
      unreached_ = true;
      become(LinkState::connecting);
      break;
    case ZMQ_EVENT_CONNECT_RETRIED:
      timer_.cancel();
      if (!tried_) unresolved_ = true;
      tried_ = false;
      break;
    default:
      break;
  }
}

void Link::become(LinkState state) {
  if (state_ == LinkState::up && state != LinkState::up) away_since_us_ = monotonic_us();
  state_ = state;
}

std::string Link::reason() const {
  const std::string& address = options_.address;
  switch (state_) {
    case LinkState::connecting:
      if (!unusable_.empty()) return address + " is not an address to connect to: " + unusable_;
      if (unresolved_) return "the host name in " + address + " has no address";
      if (unreached_) return "nothing listens at " + address;
      return "connecting to " + address;
    case LinkState::tcp_connected:
      return address + " answers, the handshake is under way";
    case LinkState::handshake_failed_auth:
      return address + " refuses our key " + options_.keys.public_key.hex() + ": it is not admitted there";
    case LinkState::handshake_failed_protocol:
      return address + " answers but does not hold key " + options_.peer.hex();
    case LinkState::up:
      return "connected to " + address;
  }
  return "";
}

}  // namespace sidestep::net

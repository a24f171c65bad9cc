#include "net/zmq_bus.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "net/address.h"
#include "net/clock.h"

namespace sidestep::net {
namespace {

constexpr int last_words_ms = 200;  // for a Goodbye or a Reply to leave when we end
// A tensor may take long on a slow line, and pings wait behind it; on control nothing is large.
constexpr int control_ping_ms = 1'000;
constexpr int control_ping_timeout_ms = 5'000;
constexpr int data_ping_ms = 5'000;
constexpr int data_ping_timeout_ms = 60'000;
constexpr int data_received_messages_max = 32;      // large ones wait at their sender
constexpr std::int64_t envelope_bytes_max = 1'024;  // what CURVE adds to a frame, generously

const char* name_of_channel(Channel channel) { return channel == Channel::control ? "control" : "data"; }

bool is_inproc(const std::string& address) { return address.starts_with("inproc://"); }

// One I/O thread for each channel, so that encrypting a tensor never delays a heartbeat.
std::uint64_t affinity_of(Channel channel) { return channel == Channel::control ? 1 : 2; }

std::int64_t message_bytes_max(Channel channel, const CodecLimits& limits) {
  const std::size_t largest = channel == Channel::control
                                  ? limits.header_bytes_max
                                  : std::max(limits.header_bytes_max, limits.tensor_bytes_max);
  return static_cast<std::int64_t>(largest) + envelope_bytes_max;
}

std::shared_ptr<zmq::context_t> new_context() {
  auto context = std::make_shared<zmq::context_t>();
  context->set(zmq::ctxopt::io_threads, 2);
  context->set(zmq::ctxopt::max_sockets, 16'384);  // three for each peer and channel
  return context;
}

// Why ZeroMQ could not bind, and what to do about it.
Status bind_error(Channel channel, const Address& address, const zmq::error_t& error) {
  const std::string where = std::string(name_of_channel(channel)) + ": ";
  const std::string port = "port " + std::to_string(address.port);
  switch (error.num()) {
    case EADDRINUSE:
      return Status::refused(where + port + " is already in use on " + address.host +
                             ": another daemon? choose another bind address or port 0");
    case EADDRNOTAVAIL:
    case ENODEV:
      return Status::invalid(where + address.host +
                             " is not an address of this machine: bind to one that is, "
                             "or to 0.0.0.0 for all");
    case EACCES:
      return Status::refused(where + port + " on " + address.host +
                             " needs privileges: choose a port above 1023");
    default:
      return Status::io(where + "cannot listen on " + address.text() + ": " + error.what());
  }
}

}  // namespace

ZmqBus::ZmqBus(boost::asio::io_context& io, ZmqBusOptions options)
    : io_(io),
      options_(std::move(options)),
      context_(options_.inproc_context ? options_.inproc_context : new_context()),
      stranger_timer_(io) {}

ZmqBus::~ZmqBus() {
  *gone_ = true;
  for (Side* side : {&control_, &data_}) {
    for (auto& [key, peer] : side->peers)
      if (peer.link && peer.link->state() == LinkState::up) peer.link->set_linger_ms(last_words_ms);
    side->pump.reset();
    side->monitor.reset();
  }
}

Result<std::unique_ptr<ZmqBus>> ZmqBus::create(boost::asio::io_context& io, ZmqBusOptions options) {
  std::unique_ptr<ZmqBus> bus(new ZmqBus(io, std::move(options)));
  if (!bus->options_.inproc_context)
    bus->zap_ = std::make_unique<ZapHandler>(
        io, *bus->context_,
        [self = bus.get()](std::string_view domain, const NodeKey& key, const std::string& address) {
          return self->admits(domain, key, address);
        });
  if (Status status = bus->bind(bus->control_, bus->options_.control_bind); !status.ok()) return status;
  if (Status status = bus->bind(bus->data_, bus->options_.data_bind); !status.ok()) return status;
  return bus;
}

Status ZmqBus::bind(Side& side, const std::string& address) {
  if (address.empty()) return {};
  side.is_curve = !(options_.inproc_context && is_inproc(address));
  Address tcp;
  if (side.is_curve) {
    auto parsed = parse_address(address, AddressUse::bind);
    if (!parsed.ok()) return parsed.status().with_context(name_of_channel(side.channel));
    SIDESTEP_ASSERT(zap_);  // without it ZeroMQ would admit every key
    tcp = std::move(parsed).value();
  }
  zmq::socket_t router(*context_, zmq::socket_type::router);
  router.set(zmq::sockopt::linger, last_words_ms);
  router.set(zmq::sockopt::affinity, affinity_of(side.channel));
  router.set(zmq::sockopt::maxmsgsize, message_bytes_max(side.channel, options_.limits));
  router.set(zmq::sockopt::sndhwm, options_.queue_messages_max);
  router.set(zmq::sockopt::rcvhwm,
             side.channel == Channel::data ? data_received_messages_max : options_.queue_messages_max);
  router.set(zmq::sockopt::router_mandatory, true);  // tell when a peer has gone
  if (side.is_curve) {
    const bool is_control = side.channel == Channel::control;
    const auto& secret = options_.keys.secret_key.bytes();
    router.set(zmq::sockopt::ipv6, tcp.is_ipv6());
    router.set(zmq::sockopt::curve_server, true);
    router.set(zmq::sockopt::curve_secretkey, std::string(secret.begin(), secret.end()));
    router.set(zmq::sockopt::zap_domain, std::string(name_of_channel(side.channel)));
    router.set(zmq::sockopt::handshake_ivl, handshake_timeout_ms);
    router.set(zmq::sockopt::heartbeat_ivl, is_control ? control_ping_ms : data_ping_ms);
    router.set(zmq::sockopt::heartbeat_timeout, is_control ? control_ping_timeout_ms : data_ping_timeout_ms);
    router.set(zmq::sockopt::tcp_keepalive, 1);
    side.monitor = std::make_unique<SocketMonitor>(
        io_, *context_, router, ZMQ_EVENT_ALL,
        [this, &side](std::uint16_t event, std::int32_t value) { on_router_event(side, event, value); });
  }
  try {
    router.bind(side.is_curve ? "tcp://" + tcp.text() : address);
  } catch (const zmq::error_t& error) {
    side.monitor.reset();
    return bind_error(side.channel, tcp, error);
  }
  side.bound_address = router.get(zmq::sockopt::last_endpoint);
  if (side.is_curve) side.bound_address.erase(0, std::string("tcp://").size());
  side.router = std::move(router);
  side.pump = std::make_unique<Pump>(io_, side.router, [this, &side] { return turn(side); });
  return {};
}

void ZmqBus::set_handlers(Handlers handlers) {
  handlers_ = std::move(handlers);
  drop_log_.set_output(handlers_.on_dropped);
}

// ---- peers --------------------------------------------------------------------------------

void ZmqBus::add_peer(const NodeKey& key, Channel channel, const std::string& address) {
  Side& its_side = side(channel);
  Peer& peer = its_side.peers[key];
  if (address.empty()) return peer.link.reset();
  if (peer.link && peer.link->address() == address) return;
  peer.link.reset();
  LinkOptions link = link_options(key, channel, address);
  if (!(options_.inproc_context && is_inproc(address))) {
    // It may come from a peer: nothing but host:port gets through to ZeroMQ.
    const auto parsed = parse_address(address, AddressUse::connect);
    if (!parsed.ok())
      return drop("address", std::string(name_of_channel(channel)) + ": cannot connect to " +
                                 key.short_name() + ": " + parsed.status().message());
    link.endpoint = "tcp://" + parsed.value().text();
    link.is_ipv6 = parsed.value().is_ipv6();
  }
  peer.link = std::make_unique<Link>(
      io_, *context_, std::move(link),
      LinkCallbacks{.on_received = [this, &its_side,
                                    key](Received& received) { on_link_message(its_side, key, received); },
                    .on_down = [this, &its_side, key] { on_link_down(its_side, key); }});
}

LinkOptions ZmqBus::link_options(const NodeKey& peer, Channel channel, const std::string& address) const {
  const bool is_control = channel == Channel::control;
  return {.keys = options_.keys,
          .peer = peer,
          .address = address,
          .endpoint = address,
          .affinity = affinity_of(channel),
          .message_bytes_max = message_bytes_max(channel, options_.limits),
          .queue_messages_max = options_.queue_messages_max,
          .ping_ms = is_control ? control_ping_ms : data_ping_ms,
          .ping_timeout_ms = is_control ? control_ping_timeout_ms : data_ping_timeout_ms};
}

void ZmqBus::remove_peer(const NodeKey& peer, Channel channel) {
  // Its connections to our ROUTER cannot be closed from here; what comes by them is dropped.
  side(channel).peers.erase(peer);
}

bool ZmqBus::admits(std::string_view domain, const NodeKey& key, const std::string& address) {
  Side& its_side = domain == name_of_channel(Channel::control) ? control_ : data_;
  if (its_side.peers.contains(key)) return true;
  const std::string what =
      std::string(domain) + ": refused a connection from " + address + " with unknown key " + key.hex();
  if (its_side.strangers.add(monotonic_us(), key, what))
    await_strangers();
  else
    drop("unknown", what);
  return false;
}

void ZmqBus::await_strangers() {
  std::optional<std::int64_t> due_us = control_.strangers.due_us();
  if (const auto data_due_us = data_.strangers.due_us(); data_due_us && (!due_us || *data_due_us < *due_us))
    due_us = data_due_us;
  if (!due_us) return;
  stranger_timer_.expires_after(
      std::chrono::microseconds(std::max<std::int64_t>(0, *due_us - monotonic_us())));
  stranger_timer_.async_wait([this, gone = gone_](const boost::system::error_code& error) {
    if (error || *gone) return;
    for (Side* its_side : {&control_, &data_})
      its_side->strangers.tell_due(
          monotonic_us(), [&](const NodeKey& key) { return its_side->peers.contains(key); },
          // One kind for all: strangers must not fill a log with new keys.
          [&](const std::string& what) { drop("unknown", what); });
    await_strangers();
  });
}

LinkReport ZmqBus::link_report(const NodeKey& key, Channel channel) const {
  const Side& its_side = side(channel);
  const auto peer = its_side.peers.find(key);
  if (peer == its_side.peers.end()) return {LinkState::connecting, "unknown key " + key.hex()};
  if (peer->second.link) return {peer->second.link->state(), peer->second.link->reason()};
  if (!peer->second.connections.empty()) return {LinkState::up, key.short_name() + " is connected"};
  return {LinkState::connecting, key.short_name() + " has not connected"};
}

// ---- receiving ----------------------------------------------------------------------------

bool ZmqBus::turn(Side& side) {
  Received received;
  for (int i = 0; i < messages_per_turn_max; ++i) {
    if (!receive_frames(side.router, true, received)) {
      forget_closed(side);
      return false;
    }
    // What happened to connections before this message comes before it: a descriptor that was closed
    // may already be another peer's.
    if (side.monitor) side.monitor->drain();
    on_router_message(side, received);
  }
  return true;
}

void ZmqBus::on_router_event(Side& side, std::uint16_t event, std::int32_t value) {
  switch (event) {
    case ZMQ_EVENT_ACCEPTED:
      side.open_fds.insert(value);
      break;
    case ZMQ_EVENT_DISCONNECTED:
      side.open_fds.erase(value);
      for (auto& [key, peer] : side.peers)
        for (auto& [boot, connection] : peer.connections)
          if (connection.fd == value) connection.closed = side.any_closed = true;
      if (side.any_closed) side.pump->schedule();
      break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
      drop("handshake", std::string(name_of_channel(side.channel)) +
                            ": a connection failed its handshake: it expects another key than ours, or is "
                            "something else");
      break;
    default:
      break;
  }
}

void ZmqBus::on_router_message(Side& side, Received& received) {
  const std::string where = std::string(name_of_channel(side.channel)) + ": ";
  std::string claimed = std::move(received.user_id);
  if (!side.is_curve) {
    NodeKey key;
    if (received.routing_id.size() > key.bytes.size())
      std::copy_n(received.routing_id.begin(), key.bytes.size(), key.bytes.begin());
    claimed = key.hex();
  }
  const auto key = NodeKey::from_hex(claimed);
  if (!key.ok()) return drop("unauthenticated", where + "dropped a message without an authenticated key");
  const std::string name = key.value().short_name();
  const auto known = side.peers.find(key.value());
  if (known == side.peers.end())
    return drop("unknown", where + "dropped a message from unknown key " + key.value().hex());
  if (received.too_many_frames)
    return drop("garbage " + name, where + "garbage from " + name + ": too many frames");

  Result<Envelope> envelope = decode(received.frames, options_.limits);
  if (!envelope.ok()) {
    // A program of another wire version reads ours as such, and says so in its own log.
    if (envelope.status().code() == Code::refused)
      (void)send_frames(side.router, received.routing_id,
                        encode({.message = Refusal{envelope.status().message()}}));
    return drop("garbage " + name, where + "garbage from " + name + ": " + envelope.status().message());
  }
  note_connection(side, known->second, envelope.value().boot, received);
  if (handlers_.on_message) handlers_.on_message(key.value(), side.channel, std::move(envelope).value());
}

void ZmqBus::on_link_message(Side& side, const NodeKey& peer, Received& received) {
  const std::string who =
      std::string(name_of_channel(side.channel)) + ": garbage from " + peer.short_name() + ": ";
  if (received.too_many_frames) return drop("garbage " + peer.short_name(), who + "too many frames");
  Result<Envelope> envelope = decode(received.frames, options_.limits);
  if (!envelope.ok()) return drop("garbage " + peer.short_name(), who + envelope.status().message());
  if (handlers_.on_message) handlers_.on_message(peer, side.channel, std::move(envelope).value());
}

// ---- connections that end -----------------------------------------------------------------

// Keeps how to reach this run of the peer.
void ZmqBus::note_connection(Side& side, Peer& peer, BootId boot, Received& received) {
  peer.heard_last = boot;
  const auto known = peer.connections.find(boot);
  if (known != peer.connections.end() && known->second.routing_id == received.routing_id) return;
  // One connection is one run of the peer, whatever boots it claims.
  if (side.is_curve)
    std::erase_if(peer.connections, [&](const auto& entry) { return entry.second.fd == received.fd; });
  const bool closed = side.is_curve && !side.open_fds.contains(received.fd);  // these are its last words
  peer.connections[boot] = {received.fd, std::move(received.routing_id), closed};
  side.any_closed |= closed;
}

void ZmqBus::forget_closed(Side& side) {
  if (!std::exchange(side.any_closed, false)) return;
  std::vector<NodeKey> gone;
  for (auto& [key, peer] : side.peers)
    if (std::erase_if(peer.connections, [](const auto& entry) { return entry.second.closed; }) > 0)
      gone.push_back(key);
  for (const NodeKey& key : gone) report_disconnect(side, key);
}

void ZmqBus::on_link_down(Side& side, const NodeKey& peer) { report_disconnect(side, NodeKey(peer)); }

void ZmqBus::report_disconnect(Side& side, const NodeKey& key) {
  const auto peer = side.peers.find(key);
  if (peer == side.peers.end() || !peer->second.connections.empty()) return;
  if (peer->second.link && peer->second.link->state() == LinkState::up) return;
  if (handlers_.on_disconnect) handlers_.on_disconnect(key, side.channel);
}

// ---- sending ------------------------------------------------------------------------------

void ZmqBus::send(const NodeKey& peer, Channel channel, const Envelope& envelope) {
  send_by(peer, channel, std::nullopt, envelope);
}

void ZmqBus::send_to_boot(const NodeKey& peer, BootId boot, Channel channel, const Envelope& envelope) {
  send_by(peer, channel, boot, envelope);
}

void ZmqBus::send_by(const NodeKey& key, Channel channel, std::optional<BootId> boot,
                     const Envelope& envelope) {
  Side& its_side = side(channel);
  const std::string name = key.short_name();
  const auto dropped = [&](const std::string& why) {
    drop(why + name, std::string(name_of_channel(channel)) + ": dropped " +
                         std::string(name_of(envelope.message)) + " for " + name + ": " + why);
  };
  const auto known = its_side.peers.find(key);
  if (known == its_side.peers.end()) return dropped("unknown key");
  Peer& peer = known->second;
  if (peer.link) {
    if (!peer.link->send(encode(envelope)))
      dropped(peer.link->state() == LinkState::up ? "its queue is full" : peer.link->reason());
    return;
  }
  auto connection = peer.connections.find(boot.value_or(peer.heard_last));
  if (connection == peer.connections.end() && !boot) connection = peer.connections.begin();
  if (connection == peer.connections.end()) return dropped("not connected");
  const Sent sent = send_frames(its_side.router, connection->second.routing_id, encode(envelope));
  if (sent == Sent::no_such_peer) connection->second.closed = its_side.any_closed = true;
  if (its_side.any_closed || (its_side.router.get(zmq::sockopt::events) & ZMQ_POLLIN) != 0)
    its_side.pump->schedule();
  if (sent != Sent::yes) dropped(sent == Sent::queue_full ? "its queue is full" : "not connected");
}

void ZmqBus::drop(const std::string& kind, const std::string& what) {
  drop_log_.add(monotonic_us(), kind, what);
}

}  // namespace sidestep::net

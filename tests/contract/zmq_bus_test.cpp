// What only the real bus has to answer for: bad addresses, wrong keys, garbage, and saying what the matter
// is.
#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <catch2/catch.hpp>

#include "tests/contract/transports.h"

using namespace sidestep;
using namespace sidestep::net;
using boost::asio::ip::tcp;

namespace {

Status create_error(boost::asio::io_context& io, const std::string& control, const std::string& data = "") {
  auto bus = ZmqBus::create(io, {.keys = generate_key_pair(), .control_bind = control, .data_bind = data});
  return bus.ok() ? Status() : bus.status();
}

ZmqBus& bus_of(const Party& party) { return dynamic_cast<ZmqBus&>(*party.bus); }

// A scheduler and one party that has not connected yet.
struct Control {
  Tcp transport;
  Party scheduler;
  Party node;

  Control() {
    transport.start(scheduler, Role::scheduler);
    transport.start(node, Role::node);
  }
  void admit() { scheduler.bus->add_peer(node.key(), Channel::control, ""); }
  void connect(const NodeKey& key, const std::string& address) {
    node.bus->add_peer(key, Channel::control, address);
  }
  LinkReport report(const NodeKey& key) const { return bus_of(node).link_report(key, Channel::control); }
  bool becomes(const NodeKey& key, LinkState state) {
    return transport.run_until([&] { return report(key).state == state; });
  }
};

// A program that holds an admitted key and speaks CurveZMQ, but not our protocol.
struct RawPeer {
  KeyPair keys = generate_key_pair();
  zmq::context_t context;
  zmq::socket_t socket{context, zmq::socket_type::dealer};

  void connect(const NodeKey& server, const std::string& address) {
    const auto text = [](const auto& bytes) { return std::string(bytes.begin(), bytes.end()); };
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::curve_serverkey, text(server.bytes));
    socket.set(zmq::sockopt::curve_publickey, text(keys.public_key.bytes));
    socket.set(zmq::sockopt::curve_secretkey, text(keys.secret_key.bytes()));
    socket.connect("tcp://" + address);
  }
  void send(const std::vector<std::string>& frames) {
    for (std::size_t i = 0; i < frames.size(); ++i)
      socket.send(zmq::buffer(frames[i]),
                  i + 1 < frames.size() ? zmq::send_flags::sndmore : zmq::send_flags::none);
  }
};

std::string text_of(const Payload& payload) {
  return {reinterpret_cast<const char*>(payload.data()), payload.size()};
}

}  // namespace

TEST_CASE("ZeroMQ bus: an address that cannot be bound is named with the cure") {
  boost::asio::io_context io;
  auto first =
      ZmqBus::create(io, {.keys = generate_key_pair(), .control_bind = "127.0.0.1:0", .data_bind = ""});
  REQUIRE(first.ok());
  const std::string taken = first.value()->bound_address(Channel::control);
  const std::string port = taken.substr(taken.rfind(':') + 1);
  const std::string in_use =
      "port " + port +
      " is already in use on 127.0.0.1: another daemon? choose another bind address or port 0";
  CHECK(create_error(io, taken).message() == "control: " + in_use);
  CHECK(create_error(io, "127.0.0.1:0", taken).message() == "data: " + in_use);
  CHECK(create_error(io, "192.0.2.1:7001").message() ==
        "control: 192.0.2.1 is not an address of this machine: bind to one that is, or to 0.0.0.0 for all");
  CHECK(create_error(io, "7001").message() == "control: address \"7001\": expected host:port");
  CHECK(create_error(io, "inproc://plain").code() == Code::invalid);
}

TEST_CASE("ZeroMQ bus: a port is free again when its bus has gone") {
  boost::asio::io_context io;
  std::string address = "127.0.0.1:0";
  for (int i = 0; i < 3; ++i) {
    auto bus = ZmqBus::create(io, {.keys = generate_key_pair(), .control_bind = address, .data_bind = ""});
    REQUIRE(bus.ok());
    address = bus.value()->bound_address(Channel::control);
  }
}

TEST_CASE("ZeroMQ bus: a link says what the matter is") {
  Control control;
  Tcp& transport = control.transport;
  Party &scheduler = control.scheduler, &node = control.node;

  SECTION("nothing listens") {
    control.connect(scheduler.key(), "127.0.0.1:1");
    REQUIRE(transport.run_until(
        [&] { return control.report(scheduler.key()).reason == "nothing listens at 127.0.0.1:1"; }));
    CHECK(control.report(scheduler.key()).state == LinkState::connecting);
  }
  SECTION("the name has no address") {
    control.connect(scheduler.key(), "no-such-host.invalid:7001");
    CHECK(transport.run_until([&] {
      return control.report(scheduler.key()).reason ==
             "the host name in no-such-host.invalid:7001 has no address";
    }));
  }
  SECTION("another key is held there") {
    control.admit();
    const NodeKey other = generate_key_pair().public_key;
    control.connect(other, scheduler.control_address);
    REQUIRE(control.becomes(other, LinkState::handshake_failed_protocol));
    CHECK(control.report(other).reason ==
          scheduler.control_address + " answers but does not hold key " + other.hex());
    CHECK(
        transport.run_until([&] { return scheduler.dropped("control: a connection failed its handshake"); }));
  }
  SECTION("our key is not admitted, and then is") {
    control.connect(scheduler.key(), scheduler.control_address);
    REQUIRE(control.becomes(scheduler.key(), LinkState::handshake_failed_auth));
    CHECK(control.report(scheduler.key()).reason ==
          scheduler.control_address + " refuses our key " + node.key().hex() + ": it is not admitted there");
    CHECK(scheduler.drops.empty());  // it may be known in a moment
    REQUIRE(transport.run_until([&] {
      return scheduler.dropped("control: refused a connection from 127.0.0.1 with unknown key " +
                               node.key().hex());
    }));
    control.admit();
    REQUIRE(control.becomes(scheduler.key(), LinkState::up));
    CHECK(control.report(scheduler.key()).reason == "connected to " + scheduler.control_address);
  }
  SECTION("something else listens") {
    tcp::acceptor acceptor(transport.io, {boost::asio::ip::address_v4::loopback(), 0});
    std::vector<tcp::socket> sockets;
    const std::string banner = "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n";
    std::function<void()> accept = [&] {
      acceptor.async_accept([&](const boost::system::error_code& error, tcp::socket socket) {
        if (error) return;
        sockets.push_back(std::move(socket));
        boost::system::error_code ignored;
        boost::asio::write(sockets.back(), boost::asio::buffer(banner), ignored);
        accept();
      });
    };
    accept();
    control.connect(scheduler.key(), "127.0.0.1:" + std::to_string(acceptor.local_endpoint().port()));
    CHECK(control.becomes(scheduler.key(), LinkState::handshake_failed_protocol));
    // It may be put right without us: the link goes on trying.
    CHECK(transport.run_until([&] { return sockets.size() >= 3; }));
  }
  SECTION("the address is no address") {
    control.connect(scheduler.key(), "ipc:///tmp/x");
    CHECK(node.dropped("control: cannot connect to " + scheduler.key().short_name() +
                       ": address \"ipc:///tmp/x\""));
    node.tell(scheduler.key(), Channel::control, Goodbye{});
    CHECK(node.dropped("not connected"));
  }
}

TEST_CASE("ZeroMQ bus: a key that becomes known within a moment is not complained about") {
  Control control;
  Tcp& transport = control.transport;
  Party &scheduler = control.scheduler, &node = control.node;
  control.connect(scheduler.key(), scheduler.control_address);
  REQUIRE(control.becomes(scheduler.key(), LinkState::handshake_failed_auth));
  control.admit();
  REQUIRE(control.becomes(scheduler.key(), LinkState::up));
  // A stranger that comes later is told of, and nobody before it.
  Party stranger;
  transport.start(stranger, Role::node);
  stranger.bus->add_peer(scheduler.key(), Channel::control, scheduler.control_address);
  REQUIRE(transport.run_until([&] { return scheduler.dropped("unknown key " + stranger.key().hex()); }));
  CHECK_FALSE(scheduler.dropped(node.key().hex()));
}

TEST_CASE(
    "ZeroMQ bus: a removed peer's open connection is not heard, on both channels, and a new one is refused") {
  Control control;
  Tcp& transport = control.transport;
  Party &scheduler = control.scheduler, &node = control.node;
  const Channel channel = GENERATE(Channel::control, Channel::data);
  Party& listener = channel == Channel::control ? scheduler : node;
  RawPeer raw;
  listener.bus->add_peer(raw.keys.public_key, channel, "");
  raw.connect(listener.key(), channel == Channel::control ? listener.control_address : listener.data_address);
  const std::string good = text_of(encode({.boot = 5, .id = 0, .message = Goodbye{"hello"}}).front());
  raw.send({good});
  REQUIRE(transport.run_until([&] { return listener.heard(channel).size() == 1; }));

  listener.bus->remove_peer(raw.keys.public_key, channel);
  listener.drops.clear();
  raw.send({good});
  REQUIRE(transport.run_until([&] { return listener.dropped("dropped a message from unknown key"); }));
  CHECK(listener.heard(channel).size() == 1);
  RawPeer again;
  again.keys = raw.keys;
  again.connect(listener.key(),
                channel == Channel::control ? listener.control_address : listener.data_address);
  again.send({good});
  REQUIRE(transport.run_until([&] { return listener.dropped("refused a connection from 127.0.0.1"); }));
  CHECK(listener.heard(channel).size() == 1);
}

TEST_CASE("ZeroMQ bus: an odd address from a peer harms nobody") {
  Control control;
  Party &scheduler = control.scheduler, &node = control.node;
  for (const char* address : {"-:1", "..:1", "_:1", "[::::::]:1", "[.]:1", "256.1.1.1:1", "a-.-b:65535"}) {
    const NodeKey peer = generate_key_pair().public_key;
    control.connect(peer, address);
    node.tell(peer, Channel::control, Goodbye{});
    CHECK(control.report(peer).state == LinkState::connecting);
  }
  control.admit();
  control.connect(scheduler.key(), scheduler.control_address);
  CHECK(control.becomes(scheduler.key(), LinkState::up));
}

TEST_CASE("ZeroMQ bus: garbage from an admitted peer is counted and harms nobody") {
  Control control;
  Tcp& transport = control.transport;
  Party& scheduler = control.scheduler;
  RawPeer raw;
  scheduler.bus->add_peer(raw.keys.public_key, Channel::control, "");
  raw.connect(scheduler.key(), scheduler.control_address);

  const std::string good = text_of(encode({.boot = 5, .id = 0, .message = Goodbye{"hello"}}).front());
  for (const std::vector<std::string>& garbage : {std::vector<std::string>{""},
                                                  {"garbage"},
                                                  {std::string(100'000, '\x91')},
                                                  {good, "a frame too many"},
                                                  std::vector<std::string>(1'000, "x"),
                                                  {"", "", ""}})
    raw.send(garbage);
  raw.send({good});
  REQUIRE(transport.run_until([&] { return scheduler.control.size() == 1; }));
  CHECK(std::get<Goodbye>(scheduler.control[0].message).reason == "hello");
  CHECK(bus_of(scheduler).dropped() == 6);
  CHECK(
      scheduler.dropped("control: garbage from " + raw.keys.public_key.short_name() + ": header: truncated"));
}

TEST_CASE("ZeroMQ bus: a message over the limit ends its connection, not the bus") {
  Control control;
  Tcp& transport = control.transport;
  Party& scheduler = control.scheduler;
  RawPeer raw;
  scheduler.bus->add_peer(raw.keys.public_key, Channel::control, "");
  raw.connect(scheduler.key(), scheduler.control_address);
  const std::string good = text_of(encode({.boot = 5, .id = 0, .message = Goodbye{"hello"}}).front());
  raw.send({good});
  REQUIRE(transport.run_until([&] { return scheduler.control.size() == 1; }));
  raw.send({std::string((16u << 20) + 2'000, 'x')});
  REQUIRE(transport.run_until([&] { return scheduler.disconnects.size() == 1; }));
  control.admit();
  control.connect(scheduler.key(), scheduler.control_address);
  CHECK(control.becomes(scheduler.key(), LinkState::up));
}

TEST_CASE("ZeroMQ bus: another wire version is named on both sides") {
  Control control;
  Tcp& transport = control.transport;
  Party& scheduler = control.scheduler;
  RawPeer raw;
  scheduler.bus->add_peer(raw.keys.public_key, Channel::control, "");
  raw.connect(scheduler.key(), scheduler.control_address);
  std::string other = text_of(encode({.boot = 5, .id = 0, .message = Goodbye{"hello"}}).front());
  other[1] = static_cast<char>(wire_version + 1);
  raw.send({other});
  REQUIRE(transport.run_until(
      [&] { return scheduler.dropped("the peer speaks wire version " + std::to_string(wire_version + 1)); }));

  zmq::message_t answer;
  REQUIRE(
      transport.run_until([&] { return raw.socket.recv(answer, zmq::recv_flags::dontwait).has_value(); }));
  CHECK(static_cast<unsigned char>(answer.to_string()[1]) == wire_version);
}

TEST_CASE("ZeroMQ bus: what a peer's queue cannot hold is dropped and counted") {
  boost::asio::io_context io;
  const KeyPair keys[] = {generate_key_pair(), generate_key_pair()};
  auto receiver = ZmqBus::create(
      io, {.keys = keys[0], .control_bind = "127.0.0.1:0", .data_bind = "", .queue_messages_max = 4});
  auto sender =
      ZmqBus::create(io, {.keys = keys[1], .control_bind = "", .data_bind = "", .queue_messages_max = 4});
  REQUIRE((receiver.ok() && sender.ok()));
  ZmqBus& from = *sender.value();
  ZmqBus& to = *receiver.value();
  std::uint64_t arrived = 0;
  std::string dropped;
  to.set_handlers({.on_message = [&](const NodeKey&, Channel, const Envelope&) { ++arrived; },
                   .on_disconnect = {},
                   .on_dropped = {}});
  // A slow machine is told once more, with how many it was.
  from.set_handlers({.on_message = {}, .on_disconnect = {}, .on_dropped = [&](const std::string& what) {
                       if (dropped.empty()) dropped = what;
                     }});
  to.add_peer(from.key(), Channel::control, "");
  from.add_peer(to.key(), Channel::control, to.bound_address(Channel::control));
  while (from.link_report(to.key(), Channel::control).state != LinkState::up) io.run_one();

  // The loop does not run meanwhile: the receiver takes nothing.
  constexpr std::uint64_t count = 400;
  for (std::uint64_t i = 0; i < count; ++i)
    from.send(to.key(), Channel::control, {1, 0, Goodbye{std::string(100'000, 'x')}});
  CHECK(dropped == "control: dropped Goodbye for " + to.key().short_name() + ": its queue is full");
  CHECK(from.dropped() > 0);
  CHECK(from.dropped() < count);
  while (arrived + from.dropped() < count) io.run_one();
}

TEST_CASE("ZeroMQ bus: last words leave before a bus goes") {
  Control control;
  Tcp& transport = control.transport;
  Party &scheduler = control.scheduler, &node = control.node;
  control.admit();
  control.connect(scheduler.key(), scheduler.control_address);
  REQUIRE(control.becomes(scheduler.key(), LinkState::up));
  node.tell(scheduler.key(), Channel::control, Goodbye{"SIGTERM"});
  node.bus.reset();
  CHECK(transport.run_until([&] { return scheduler.control.size() == 1; }));
  CHECK(transport.run_until([&] { return scheduler.disconnects.size() == 1; }));
}

TEST_CASE("ZeroMQ bus: a program that is too busy for handshakes is told from one that refuses") {
  Control control;
  boost::asio::io_context frozen;
  auto silent =
      ZmqBus::create(frozen, {.keys = generate_key_pair(), .control_bind = "127.0.0.1:0", .data_bind = ""});
  REQUIRE(silent.ok());
  ZmqBus& other = *silent.value();
  control.connect(other.key(), other.bound_address(Channel::control));
  CHECK(control.becomes(other.key(), LinkState::tcp_connected));
  CHECK(control.report(other.key()).reason ==
        other.bound_address(Channel::control) + " answers, the handshake is under way");
}

TEST_CASE("ZeroMQ bus: a peer may be removed from within its own message") {
  Control control;
  Tcp& transport = control.transport;
  Party &scheduler = control.scheduler, &node = control.node;
  control.admit();
  control.connect(scheduler.key(), scheduler.control_address);
  node.tell(scheduler.key(), Channel::control, Goodbye{});
  REQUIRE(transport.run_until([&] { return scheduler.control.size() == 1; }));
  int heard = 0;
  node.bus->set_handlers({.on_message =
                              [&](const NodeKey& peer, Channel channel, const Envelope&) {
                                ++heard;
                                node.bus->remove_peer(NodeKey(peer), channel);
                              },
                          .on_disconnect = {},
                          .on_dropped = {}});
  for (int i = 0; i < 5; ++i) scheduler.tell(node.key(), Channel::control, Goodbye{});
  REQUIRE(transport.run_until([&] { return heard == 1; }));
  CHECK_FALSE(transport.run_until([&] { return heard > 1; }, 200));
}

TEST_CASE("ZeroMQ bus: a link may be removed when it goes down") {
  Control control;
  Tcp& transport = control.transport;
  Party &scheduler = control.scheduler, &node = control.node;
  control.admit();
  control.connect(scheduler.key(), scheduler.control_address);
  REQUIRE(control.becomes(scheduler.key(), LinkState::up));
  bool down = false;
  node.bus->set_handlers({.on_message = {},
                          .on_disconnect =
                              [&](const NodeKey& peer, Channel channel) {
                                down = true;
                                node.bus->remove_peer(NodeKey(peer), channel);
                              },
                          .on_dropped = {}});
  scheduler.bus.reset();
  CHECK(transport.run_until([&] { return down; }));
}

// What every Bus promises, whichever way its messages go.
#include <catch2/catch.hpp>

#include "tests/contract/transports.h"

using namespace sidestep::net;

namespace {

Message numbered(std::uint64_t n) { return Heartbeat{.sequence = n, .progress = {}}; }
std::uint64_t number_of(const Envelope& envelope) { return std::get<Heartbeat>(envelope.message).sequence; }

Message bulk(std::size_t bytes) {
  std::vector<std::byte> data(bytes);
  for (std::size_t i = 0; i < bytes; ++i) data[i] = static_cast<std::byte>(i * 2'654'435'761u >> 24);
  AverageChunk chunk;
  chunk.tensor = {DType::uint8, {static_cast<std::int64_t>(bytes)}, Payload::from_bytes(std::move(data))};
  return chunk;
}
const Payload& payload_of(const Message& message) { return std::get<AverageChunk>(message).tensor.payload; }

// A scheduler and two nodes that know each other. The transport outlives the parties' buses.
template <class Transport>
struct Swarm {
  Transport transport;
  Party scheduler;
  Party a;
  Party b;

  Swarm() {
    transport.start(scheduler, Role::scheduler);
    for (Party* node : {&a, &b}) {
      transport.start(*node, Role::node);
      scheduler.bus->add_peer(node->key(), Channel::control, "");
      node->bus->add_peer(scheduler.key(), Channel::control, scheduler.control_address);
    }
    join(a, b);
    join(b, a);
  }
  static void join(Party& node, const Party& peer) {
    node.bus->add_peer(peer.key(), Channel::data, peer.data_address);
  }
  bool until(const std::function<bool()>& condition, int bound_ms = 10'000) {
    return transport.run_until(condition, bound_ms);
  }
  // Sends again and again, as a core does, until the other side has heard something new.
  bool reaches(Party& from, Party& to, Channel channel) {
    const std::size_t before = to.heard(channel).size();
    for (int attempt = 0; attempt < 100; ++attempt) {
      from.tell(to.key(), channel, Goodbye{"are you there?"});
      if (until([&] { return to.heard(channel).size() > before; }, 100)) return true;
    }
    return false;
  }
};

}  // namespace

TEMPLATE_TEST_CASE("Bus: delivers both ways on both channels", "", Sim, Inproc, Tcp, AtOnce, Late) {
  Swarm<TestType> swarm;
  Party &scheduler = swarm.scheduler, &a = swarm.a, &b = swarm.b;
  a.tell(scheduler.key(), Channel::control, numbered(1));
  REQUIRE(swarm.until([&] { return scheduler.control.size() == 1; }));
  CHECK(number_of(scheduler.control[0]) == 1);
  CHECK(scheduler.control[0].boot == a.boot);

  scheduler.tell(a.key(), Channel::control, numbered(2));
  REQUIRE(swarm.until([&] { return a.control.size() == 1; }));
  CHECK(number_of(a.control[0]) == 2);

  a.tell(b.key(), Channel::data, numbered(3));
  b.tell(a.key(), Channel::data, numbered(4));
  REQUIRE(swarm.until([&] { return a.data.size() == 1 && b.data.size() == 1; }));
  CHECK(number_of(b.data[0]) == 3);
  CHECK(number_of(a.data[0]) == 4);
  CHECK(b.control.empty());
}

TEMPLATE_TEST_CASE("Bus: a link keeps the order of what is sent", "", Sim, Inproc, Tcp, AtOnce, Late) {
  Swarm<TestType> swarm;
  Party &a = swarm.a, &b = swarm.b;
  for (std::uint64_t n = 0; n < 200; ++n) a.tell(b.key(), Channel::data, numbered(n));
  REQUIRE(swarm.until([&] { return b.data.size() == 200; }));
  for (std::uint64_t n = 0; n < 200; ++n) CHECK(number_of(b.data[n]) == n);
}

TEMPLATE_TEST_CASE("Bus: a large tensor arrives whole, shared where that can be", "", Sim, Inproc, Tcp,
                   AtOnce, Late) {
  Swarm<TestType> swarm;
  Party &a = swarm.a, &b = swarm.b;
  const Message sent = bulk(8 << 20);
  a.tell(b.key(), Channel::data, sent);
  REQUIRE(swarm.until([&] { return b.data.size() == 1; }));
  const Payload& before = payload_of(sent);
  const Payload& after = payload_of(b.data[0].message);
  REQUIRE(after.size() == before.size());
  CHECK(std::equal(before.data(), before.data() + before.size(), after.data()));
  CHECK((after.data() == before.data()) == TestType::shares_payloads);
  CHECK(reinterpret_cast<std::uintptr_t>(after.data()) % 8 == 0);
}

TEMPLATE_TEST_CASE("Bus: a payload is let go once it has been sent", "", Sim, Inproc, Tcp, AtOnce, Late) {
  Swarm<TestType> swarm;
  Party &a = swarm.a, &b = swarm.b;
  Message sent = bulk(1 << 20);
  const std::weak_ptr<const void> owner = payload_of(sent).owner();
  a.tell(b.key(), Channel::data, std::move(sent));
  REQUIRE(swarm.until([&] { return b.data.size() == 1; }));
  b.data.clear();
  CHECK(swarm.until([&] { return owner.expired(); }));
}

TEMPLATE_TEST_CASE("Bus: a key that is not known is not heard until it is added", "", Sim, Inproc, Tcp,
                   AtOnce, Late) {
  Swarm<TestType> swarm;
  auto& transport = swarm.transport;
  Party& scheduler = swarm.scheduler;
  Party stranger;
  transport.start(stranger, Role::node);
  stranger.bus->add_peer(scheduler.key(), Channel::control, scheduler.control_address);
  stranger.tell(scheduler.key(), Channel::control, numbered(1));
  REQUIRE(swarm.until([&] { return scheduler.dropped("unknown key " + stranger.key().short_name()); }));
  CHECK(scheduler.control.empty());

  scheduler.bus->add_peer(stranger.key(), Channel::control, "");
  CHECK(swarm.reaches(stranger, scheduler, Channel::control));
}

TEMPLATE_TEST_CASE("Bus: a node that learns of a peer later lets it in then", "", Sim, Inproc, Tcp, AtOnce,
                   Late) {
  Swarm<TestType> swarm;
  auto& transport = swarm.transport;
  Party& a = swarm.a;
  Party c;
  transport.start(c, Role::node);
  swarm.join(c, a);
  c.tell(a.key(), Channel::data, numbered(1));
  REQUIRE(swarm.until([&] { return a.dropped("unknown key " + c.key().short_name()); }));
  CHECK(a.data.empty());
  swarm.join(a, c);
  CHECK(swarm.reaches(c, a, Channel::data));
  CHECK(swarm.reaches(a, c, Channel::data));
}

TEMPLATE_TEST_CASE("Bus: a guest connects to a data socket and is answered on its connection", "", Sim,
                   Inproc, Tcp, AtOnce, Late) {
  Swarm<TestType> swarm;
  auto& transport = swarm.transport;
  Party &a = swarm.a, &b = swarm.b;
  Party guest;  // binds nothing, as an operator's program
  transport.start(guest, Role::scheduler);
  guest.bus->add_peer(a.key(), Channel::data, a.data_address);
  guest.tell(a.key(), Channel::data, numbered(1));
  REQUIRE(swarm.until([&] { return a.dropped("unknown key " + guest.key().short_name()); }));
  a.bus->add_peer(guest.key(), Channel::data, "");
  REQUIRE(swarm.reaches(guest, a, Channel::data));
  CHECK(a.data.back().boot == guest.boot);

  Party terminal;  // a second program with the same key
  terminal.keys = guest.keys;
  transport.start(terminal, Role::scheduler);
  terminal.bus->add_peer(a.key(), Channel::data, a.data_address);
  REQUIRE(swarm.reaches(terminal, a, Channel::data));
  a.bus->send_to_boot(guest.key(), guest.boot, Channel::data, {a.boot, 0, bulk(1 << 20)});
  a.bus->send_to_boot(guest.key(), terminal.boot, Channel::data, {a.boot, 0, numbered(2)});
  REQUIRE(swarm.until([&] { return guest.data.size() == 1 && terminal.data.size() == 1; }));
  CHECK(payload_of(guest.data[0].message).size() == 1 << 20);
  CHECK(number_of(terminal.data[0]) == 2);
  // Bulk between nodes goes on as it did.
  CHECK(swarm.reaches(b, a, Channel::data));

  a.bus->remove_peer(guest.key(), Channel::data);
  a.data.clear();
  guest.tell(a.key(), Channel::data, numbered(3));
  CHECK(swarm.until([&] { return a.dropped("unknown key"); }));
  CHECK(a.data.empty());
}

TEMPLATE_TEST_CASE("Bus: a removed peer is not heard and not sent to", "", Sim, Inproc, Tcp, AtOnce, Late) {
  Swarm<TestType> swarm;
  Party &a = swarm.a, &b = swarm.b;
  REQUIRE(swarm.reaches(a, b, Channel::data));
  b.bus->remove_peer(a.key(), Channel::data);
  b.data.clear();
  a.tell(b.key(), Channel::data, numbered(1));
  CHECK(swarm.until([&] { return b.dropped("unknown key " + a.key().short_name()); }));
  CHECK(b.data.empty());
  b.drops.clear();
  b.tell(a.key(), Channel::data, numbered(2));
  CHECK(b.dropped("unknown key"));
  CHECK(a.data.empty());

  swarm.join(b, a);
  CHECK(swarm.reaches(a, b, Channel::data));
}

TEMPLATE_TEST_CASE("Bus: two runs under one key are told apart", "", Sim, Inproc, Tcp, AtOnce, Late) {
  Swarm<TestType> swarm;
  auto& transport = swarm.transport;
  Party &scheduler = swarm.scheduler, &a = swarm.a;
  Party second;
  second.keys = a.keys;
  transport.start(second, Role::node);
  second.bus->add_peer(scheduler.key(), Channel::control, scheduler.control_address);
  REQUIRE(swarm.reaches(a, scheduler, Channel::control));
  REQUIRE(swarm.reaches(second, scheduler, Channel::control));
  CHECK(scheduler.control.back().boot == second.boot);

  scheduler.bus->send_to_boot(a.key(), a.boot, Channel::control, {1, 0, numbered(1)});
  scheduler.bus->send_to_boot(a.key(), second.boot, Channel::control, {1, 0, Refusal{"not twice"}});
  REQUIRE(swarm.until([&] { return a.control.size() == 1 && second.control.size() == 1; }));
  CHECK(number_of(a.control[0]) == 1);
  CHECK(std::get<Refusal>(second.control[0].message).reason == "not twice");

  // Without a boot: to the run that was heard from last.
  REQUIRE(swarm.reaches(a, scheduler, Channel::control));
  scheduler.tell(a.key(), Channel::control, numbered(2));
  REQUIRE(swarm.until([&] { return a.control.size() == 2; }));
  CHECK(second.control.size() == 1);
}

TEMPLATE_TEST_CASE("Bus: sends to nobody do not wait, and leave nothing behind", "", Sim, Inproc, Tcp, AtOnce,
                   Late) {
  Swarm<TestType> swarm;
  Party &scheduler = swarm.scheduler, &a = swarm.a, &b = swarm.b;
  const NodeKey nobody = generate_key_pair().public_key;
  Message message = bulk(1 << 20);
  const std::weak_ptr<const void> owner = payload_of(message).owner();

  a.bus->add_peer(nobody, Channel::data, TestType::nowhere);
  for (int i = 0; i < 1'000; ++i) a.tell(nobody, Channel::data, message);
  scheduler.tell(b.key(), Channel::control, message);  // b has not spoken yet
  CHECK(scheduler.dropped("not connected"));
  a.tell(generate_key_pair().public_key, Channel::data, std::move(message));
  CHECK(a.dropped("unknown key"));
  message = Goodbye{};

  CHECK(swarm.reaches(a, b, Channel::data));
  a.bus->remove_peer(nobody, Channel::data);
  // ZeroMQ itself keeps what waits for an inproc name, until somebody binds it.
  if (TestType::has_connections) CHECK(swarm.until([&] { return owner.expired(); }));
}

TEMPLATE_TEST_CASE("Bus: control does not wait behind bulk data", "", Sim, Tcp, AtOnce, Late) {
  Swarm<TestType> swarm;
  auto& transport = swarm.transport;
  Party &a = swarm.a, &b = swarm.b;
  // b is reached on control as well as on data, as if it were the scheduler.
  Party hub;
  transport.start(hub, Role::scheduler);
  hub.bus->add_peer(a.key(), Channel::control, "");
  a.bus->add_peer(hub.key(), Channel::control, hub.control_address);
  REQUIRE(swarm.reaches(a, hub, Channel::control));
  REQUIRE(swarm.reaches(a, b, Channel::data));
  hub.control.clear();
  b.data.clear();

  for (int i = 0; i < 20; ++i) a.tell(b.key(), Channel::data, bulk(4 << 20));
  a.tell(hub.key(), Channel::control, numbered(1));
  REQUIRE(swarm.until([&] { return hub.control.size() == 1; }));
  CHECK(b.data.size() < 20);
  CHECK(swarm.until([&] { return b.data.size() == 20; }, 30'000));
}

TEMPLATE_TEST_CASE("Bus: the end of a node is reported once on each channel", "", Sim, Tcp, AtOnce, Late) {
  Swarm<TestType> swarm;
  Party &scheduler = swarm.scheduler, &a = swarm.a, &b = swarm.b;
  REQUIRE(swarm.reaches(a, scheduler, Channel::control));
  REQUIRE(swarm.reaches(a, b, Channel::data));
  REQUIRE(swarm.reaches(b, a, Channel::data));
  const NodeKey key = a.key();
  a.bus.reset();
  REQUIRE(swarm.until([&] { return scheduler.disconnects.size() == 1 && b.disconnects.size() == 1; }));
  CHECK(scheduler.disconnects[0] == std::pair(key, Channel::control));
  CHECK(b.disconnects[0] == std::pair(key, Channel::data));
  CHECK_FALSE(swarm.until([&] { return scheduler.disconnects.size() + b.disconnects.size() > 2; }, 300));
}

TEMPLATE_TEST_CASE("Bus: the end of the scheduler is reported", "", Sim, Tcp, AtOnce, Late) {
  Swarm<TestType> swarm;
  Party &scheduler = swarm.scheduler, &a = swarm.a;
  REQUIRE(swarm.reaches(a, scheduler, Channel::control));
  const NodeKey key = scheduler.key();
  scheduler.bus.reset();
  REQUIRE(swarm.until([&] { return !a.disconnects.empty(); }));
  CHECK(a.disconnects[0] == std::pair(key, Channel::control));
}

TEMPLATE_TEST_CASE("Bus: a removed peer's end is nobody's business", "", Sim, Tcp, AtOnce, Late) {
  Swarm<TestType> swarm;
  Party &scheduler = swarm.scheduler, &a = swarm.a;
  REQUIRE(swarm.reaches(a, scheduler, Channel::control));
  scheduler.bus->remove_peer(a.key(), Channel::control);
  a.bus.reset();
  CHECK_FALSE(swarm.until([&] { return !scheduler.disconnects.empty(); }, 300));
}

TEMPLATE_TEST_CASE("Bus: who restarts is reached again, with a new boot", "", Sim, Tcp, AtOnce, Late) {
  Swarm<TestType> swarm;
  auto& transport = swarm.transport;
  Party &scheduler = swarm.scheduler, &a = swarm.a, &b = swarm.b;
  REQUIRE(swarm.reaches(a, scheduler, Channel::control));
  REQUIRE(swarm.reaches(a, b, Channel::data));

  SECTION("the scheduler") {
    scheduler.bus.reset();
    scheduler.boot = random_boot_id();
    transport.start(scheduler, Role::scheduler);
    scheduler.bus->add_peer(a.key(), Channel::control, "");
    REQUIRE(swarm.reaches(a, scheduler, Channel::control));
    REQUIRE(swarm.reaches(scheduler, a, Channel::control));
    CHECK(a.control.back().boot == scheduler.boot);
  }
  SECTION("a node") {
    b.bus.reset();
    b.boot = random_boot_id();
    transport.start(b, Role::node);
    swarm.join(b, a);
    b.bus->add_peer(scheduler.key(), Channel::control, scheduler.control_address);
    REQUIRE(swarm.reaches(a, b, Channel::data));
    REQUIRE(swarm.reaches(b, a, Channel::data));
    CHECK(a.data.back().boot == b.boot);
    REQUIRE(swarm.reaches(b, scheduler, Channel::control));
    REQUIRE(swarm.reaches(scheduler, b, Channel::control));
  }
}

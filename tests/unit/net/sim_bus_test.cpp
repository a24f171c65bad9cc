#include "net/sim_bus.h"

#include <catch2/catch.hpp>

#include "net/clock.h"
#include "tests/unit/net/keys.h"

using namespace sidestep::net;
using testing::key;

namespace {

// Two nodes that know each other, and what the second heard when.
struct Pair {
  SimNetwork network;
  std::unique_ptr<SimBus> a = network.create_bus(key(1), 11);
  std::unique_ptr<SimBus> b = network.create_bus(key(2), 22);
  std::string heard;
  std::vector<std::int64_t> times;
  int disconnects = 0;

  explicit Pair(const SimNetworkOptions& options) : network(options) {
    a->add_peer(key(2), Channel::data, "b");
    listen();
  }
  void listen() {
    b->add_peer(key(1), Channel::data, "a");
    b->set_handlers({.on_message =
                         [this](const NodeKey&, Channel, const Envelope& envelope) {
                           heard += std::get<Goodbye>(envelope.message).reason;
                           times.push_back(network.now_us());
                         },
                     .on_disconnect = [this](const NodeKey&, Channel) { ++disconnects; },
                     .on_dropped = {}});
  }
  void send(const std::string& text) { a->send(key(2), Channel::data, {11, 0, Goodbye{text}}); }
  void send_alphabet() {
    for (char c = 'a'; c <= 'z'; ++c) send(std::string(1, c));
  }
};

const std::string alphabet = "abcdefghijklmnopqrstuvwxyz";

}  // namespace

TEST_CASE("Simulated network: without faults everything arrives in order and in time") {
  Pair pair({.seed = 5, .link = {.delay_us_min = 100, .delay_us_max = 900}});
  CHECK_FALSE(pair.network.next_event_us());
  CHECK_FALSE(pair.network.step());
  pair.send_alphabet();
  pair.network.run_until(900);
  CHECK(pair.heard == alphabet);
  CHECK(pair.network.now_us() == 900);
  CHECK(pair.times.front() >= 100);
}

TEST_CASE("Simulated network: the same seed gives the same trace, another one another") {
  const auto trace = [](std::uint64_t seed) {
    Pair pair(
        {.seed = seed,
         .link = {.loss = 0.2, .repetition = 0.2, .overtaking = 0.2, .clog = 0.1, .clog_us_max = 5 * ms}});
    std::string seen;
    pair.network.set_observer([&](std::int64_t now_us, const SimPacket& packet) {
      seen += std::to_string(now_us) + packet.from.short_name() + packet.to.short_name() +
              std::get<Goodbye>(packet.envelope.message).reason;
    });
    for (int i = 0; i < 10; ++i) pair.send_alphabet();
    pair.network.run_until(1'000 * ms);
    return seen;
  };
  CHECK(trace(1) == trace(1));
  CHECK(trace(1) != trace(2));
}

TEST_CASE("Simulated network: each fault does what its name says") {
  const auto heard = [](SimLinkOptions link) {
    Pair pair({.seed = 5, .link = link});
    pair.send_alphabet();
    pair.network.run_until(1'000 * ms);
    return pair.heard;
  };
  CHECK(heard({.loss = 1}).empty());
  CHECK(heard({.loss = 0.3}).size() < 26);
  CHECK(heard({.repetition = 1}).size() == 52);
  const std::string shuffled = heard({.overtaking = 1});
  CHECK(shuffled != alphabet);
  CHECK(std::is_permutation(shuffled.begin(), shuffled.end(), alphabet.begin(), alphabet.end()));
  CHECK(heard({.clog = 1, .clog_us_max = ms}) == alphabet);
}

TEST_CASE("Simulated network: bandwidth makes messages wait for each other") {
  Pair pair({.seed = 5, .link = {.delay_us_min = 0, .delay_us_max = 0, .bytes_per_us = 1}});
  for (int i = 0; i < 3; ++i) pair.send(std::string(10'000, 'x'));
  pair.network.run_until(100 * ms);
  REQUIRE(pair.times.size() == 3);
  CHECK(pair.times[0] == Approx(10'000).margin(50));
  CHECK(pair.times[2] == Approx(30'000).margin(150));
}

TEST_CASE("Simulated network: a cut loses one direction until healed") {
  Pair pair({.seed = 5, .link = {}});
  std::string back;
  pair.a->set_handlers({.on_message = [&](const NodeKey&, Channel,
                                          const Envelope& e) { back += std::get<Goodbye>(e.message).reason; },
                        .on_disconnect = {},
                        .on_dropped = {}});
  pair.network.cut(key(1), key(2));
  pair.send("lost");
  pair.b->send(key(1), Channel::data, {22, 0, Goodbye{"back"}});
  pair.network.run_until(10 * ms);
  CHECK(pair.heard.empty());
  CHECK(back == "back");
  pair.network.heal(key(1), key(2));
  pair.send("x");
  pair.network.run_until(20 * ms);
  CHECK(pair.heard == "x");

  pair.network.isolate(key(2));
  pair.send("lost");
  pair.network.run_until(30 * ms);
  pair.network.heal_all();
  pair.send("y");
  pair.network.run_until(40 * ms);
  CHECK(pair.heard == "xy");
}

TEST_CASE("Simulated network: a filter loses what it refuses") {
  Pair pair({.seed = 5, .link = {}});
  pair.network.set_filter(
      [](const SimPacket& packet) { return std::get<Goodbye>(packet.envelope.message).reason != "m"; });
  pair.send_alphabet();
  pair.network.run_until(10 * ms);
  CHECK(pair.heard == "abcdefghijklnopqrstuvwxyz");
}

TEST_CASE("Simulated network: a death is heard of behind the last words, unless the machine is lost") {
  Pair pair({.seed = 5, .link = {}});
  SECTION("the process ends") {
    pair.send("last words");
    pair.a.reset();
    pair.network.run_until(10 * ms);
    CHECK(pair.heard == "last words");
    CHECK(pair.disconnects == 1);
  }
  SECTION("the machine is lost") {
    pair.network.isolate(key(1));
    pair.a.reset();
    pair.network.run_until(10 * ms);
    CHECK(pair.disconnects == 0);
  }
  SECTION("another run under the same key goes on") {
    const auto second = pair.network.create_bus(key(1), 12);
    pair.a.reset();
    pair.network.run_until(10 * ms);
    CHECK(pair.disconnects == 0);
  }
  SECTION("the listener restarted meanwhile") {
    pair.a.reset();
    pair.b.reset();
    pair.b = pair.network.create_bus(key(2), 23);
    pair.listen();
    pair.network.run_until(10 * ms);
    CHECK(pair.disconnects == 0);
  }
}

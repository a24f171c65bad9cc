#include "net/faulty_bus.h"

#include <catch2/catch.hpp>

#include "net/sim_bus.h"

using namespace sidestep::net;

TEST_CASE("Faulty bus: drops, repeats and holds what it is told to, and nothing else") {
  NodeKey a_key, b_key;
  a_key.bytes[0] = 1;
  b_key.bytes[0] = 2;
  SimNetwork network({.seed = 1, .link = {}});
  const auto a = network.create_bus(a_key, 1);
  const auto b = network.create_bus(b_key, 2);
  std::string heard;
  b->set_handlers(
      {.on_message = [&](const NodeKey&, Channel,
                         const Envelope& envelope) { heard += std::get<Goodbye>(envelope.message).reason; },
       .on_disconnect = {},
       .on_dropped = {}});
  using Fault = FaultyBus::Fault;
  FaultyBus faulty(*a, [](const NodeKey&, Channel, const Envelope& envelope) {
    const std::string& text = std::get<Goodbye>(envelope.message).reason;
    return text == "d" ? Fault::drop : text == "r" ? Fault::repeat : text == "h" ? Fault::hold : Fault::none;
  });
  faulty.add_peer(b_key, Channel::data, "b");
  b->add_peer(a_key, Channel::data, "a");
  for (const char* text : {"1", "d", "r", "h", "2"}) faulty.send(b_key, Channel::data, {1, 0, Goodbye{text}});
  network.run_until(1'000'000);
  CHECK(heard == "1rr2");
  faulty.release();
  faulty.release();
  network.run_until(2'000'000);
  CHECK(heard == "1rr2h");
}

// The transports that the contract holds for, behind one vocabulary: start parties, let time pass until
// something is true. No test sleeps; every wait has a bound.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "net/clock.h"
#include "net/emulated_bus.h"
#include "net/keys.h"
#include "net/sim_bus.h"
#include "net/zmq_bus.h"

namespace sidestep::net {

// One daemon: its bus and what it heard. Addresses are kept over a restart.
struct Party {
  KeyPair keys = generate_key_pair();
  BootId boot = random_boot_id();
  std::unique_ptr<Bus> bus;
  std::string control_address;
  std::string data_address;

  std::vector<Envelope> control;
  std::vector<Envelope> data;
  std::vector<std::pair<NodeKey, Channel>> disconnects;
  std::vector<std::string> drops;
  std::vector<Channel> arrivals;  // of all messages, in order

  const NodeKey& key() const { return keys.public_key; }
  std::vector<Envelope>& heard(Channel channel) { return channel == Channel::control ? control : data; }

  void listen() {
    bus->set_handlers({.on_message =
                           [this](const NodeKey&, Channel channel, Envelope envelope) {
                             arrivals.push_back(channel);
                             heard(channel).push_back(std::move(envelope));
                           },
                       .on_disconnect = [this](const NodeKey& peer,
                                               Channel channel) { disconnects.emplace_back(peer, channel); },
                       .on_dropped = [this](const std::string& what) { drops.push_back(what); }});
  }
  bool dropped(const std::string& part) const {
    return std::any_of(drops.begin(), drops.end(),
                       [&](const std::string& drop) { return drop.find(part) != std::string::npos; });
  }
  void tell(const NodeKey& peer, Channel channel, Message message) {
    bus->send(peer, channel, {.boot = boot, .id = 0, .message = std::move(message)});
  }
};

enum class Role { scheduler, node };  // who binds control, who binds data

class Sim {
 public:
  static constexpr bool has_connections = true;  // disconnects are reported, peers may restart
  static constexpr bool shares_payloads = true;
  static constexpr const char* nowhere = "somewhere";

  void start(Party& party, Role) {
    party.control_address = party.data_address = "anywhere";
    party.bus = network.create_bus(party.key(), party.boot);
    party.listen();
  }
  bool run_until(const std::function<bool()>& condition, int bound_ms = 10'000) {
    const std::int64_t end_us = network.now_us() + bound_ms * ms;
    while (!condition()) {
      const auto next = network.next_event_us();
      if (!next || *next > end_us) return false;
      network.step();
    }
    return true;
  }

  SimNetwork network{{.seed = 11, .link = {.bytes_per_us = 1'000}}};
};

class Zmq {
 public:
  bool run_until(const std::function<bool()>& condition, int bound_ms = 10'000) {
    const std::int64_t end_us = monotonic_us() + bound_ms * ms;
    while (!condition()) {
      if (monotonic_us() > end_us) return false;
      io.restart();
      io.run_one_for(std::chrono::milliseconds(10));
    }
    return true;
  }

  boost::asio::io_context io;

 protected:
  void start(Party& party, ZmqBusOptions options) {
    options.keys = party.keys;
    auto bus = ZmqBus::create(io, std::move(options));
    if (!bus.ok()) throw std::runtime_error(bus.status().message());
    party.control_address = bus.value()->bound_address(Channel::control);
    party.data_address = bus.value()->bound_address(Channel::data);
    party.bus = std::move(bus).value();
    party.listen();
  }
};

class Inproc : public Zmq {
 public:
  static constexpr bool has_connections = false;
  static constexpr bool shares_payloads = true;
  static constexpr const char* nowhere = "inproc://nowhere";

  void start(Party& party, Role role) {
    const std::string name = "inproc://" + std::to_string(party.boot);
    Zmq::start(party, {.keys = {},
                       .control_bind = role == Role::scheduler ? name + "c" : "",
                       .data_bind = role == Role::node ? name + "d" : "",
                       .inproc_context = context});
  }

  std::shared_ptr<zmq::context_t> context = std::make_shared<zmq::context_t>();
};

class Tcp : public Zmq {
 public:
  static constexpr bool has_connections = true;
  static constexpr bool shares_payloads = false;
  static constexpr const char* nowhere = "127.0.0.1:1";  // tcpmux: nobody has run it for decades

  void start(Party& party, Role role) {
    const auto bind = [](bool wanted, const std::string& before) {
      return !wanted ? "" : before.empty() ? "127.0.0.1:0" : before;
    };
    Zmq::start(party, {.keys = {},
                       .control_bind = bind(role == Role::scheduler, party.control_address),
                       .data_bind = bind(role == Role::node, party.data_address)});
  }
};

// A bus and links over it that are emulated, one to each data peer.
class OwningEmulatedBus : public Bus {
 public:
  OwningEmulatedBus(boost::asio::io_context& io, std::unique_ptr<Bus> bus, const EmulatedLink& link)
      : bus_(std::move(bus)), link_(link), timer_(io), emulated_(*bus_, monotonic_us, [this](auto due_us) {
          timer_.expires_after(std::chrono::microseconds(std::max<std::int64_t>(0, due_us - monotonic_us())));
          timer_.async_wait([this, here = std::weak_ptr(here_)](const boost::system::error_code& problem) {
            if (!problem && !here.expired()) emulated_.on_timer();
          });
        }) {}

  void set_handlers(Handlers handlers) override { emulated_.set_handlers(std::move(handlers)); }
  void add_peer(const NodeKey& peer, Channel channel, const std::string& address) override {
    if (channel == Channel::data) emulated_.set_link(peer, channel, link_);
    emulated_.add_peer(peer, channel, address);
  }
  void remove_peer(const NodeKey& peer, Channel channel) override { emulated_.remove_peer(peer, channel); }
  void send(const NodeKey& peer, Channel channel, const Envelope& envelope) override {
    emulated_.send(peer, channel, envelope);
  }
  void send_to_boot(const NodeKey& peer, BootId boot, Channel channel, const Envelope& envelope) override {
    emulated_.send_to_boot(peer, boot, channel, envelope);
  }

 private:
  std::unique_ptr<Bus> bus_;
  EmulatedLink link_;
  boost::asio::steady_timer timer_;
  std::shared_ptr<bool> here_ = std::make_shared<bool>(true);
  EmulatedBus emulated_;
};

template <int latency_ms>
class EmulatedTcp : public Tcp {
 public:
  void start(Party& party, Role role) {
    Tcp::start(party, role);
    party.bus = std::make_unique<OwningEmulatedBus>(io, std::move(party.bus),
                                                    EmulatedLink{.latency_us = latency_ms * ms});
    party.listen();
  }
};
using AtOnce = EmulatedTcp<0>;
using Late = EmulatedTcp<20>;

}  // namespace sidestep::net

// How fast tensors go from node to node on loopback: ZmqBus beside a bare pair of ZeroMQ sockets with CURVE,
// the same pair without encryption, and libsodium's cipher alone. Prints one JSON object; scripts/bench
// transport runs it. Sender and receiver are two threads, as two daemons on one machine are two processes.
#include <sodium.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>
#include <zmq.hpp>

#include "net/assert.h"
#include "net/clock.h"
#include "net/zmq_bus.h"

namespace sidestep::net {
namespace {

constexpr std::uint64_t total_bytes = 1u << 30;  // of one measurement
constexpr int rounds = 5;
constexpr std::uint64_t outstanding_bytes = 64u << 20;  // sent and not yet acknowledged

struct Traffic {
  std::size_t tensor_bytes = 0;
  std::uint64_t tensors() const { return total_bytes / tensor_bytes; }
  std::uint64_t window() const { return std::max<std::uint64_t>(4, outstanding_bytes / tensor_bytes); }
};

double megabytes_per_s(std::uint64_t bytes, std::int64_t begin_us) {
  return static_cast<double>(bytes) / static_cast<double>(monotonic_us() - begin_us);
}

// ---- libsodium alone -----------------------------------------------------------------------

double cipher(const Traffic& traffic, const std::vector<std::byte>& tensor) {
  std::vector<unsigned char> out(traffic.tensor_bytes + crypto_box_MACBYTES);
  unsigned char public_key[crypto_box_PUBLICKEYBYTES], secret_key[crypto_box_SECRETKEYBYTES];
  unsigned char shared[crypto_box_BEFORENMBYTES], nonce[crypto_box_NONCEBYTES] = {};
  crypto_box_keypair(public_key, secret_key);
  SIDESTEP_ASSERT(crypto_box_beforenm(shared, public_key, secret_key) == 0);
  const std::int64_t begin_us = monotonic_us();
  for (std::uint64_t i = 0; i < traffic.tensors(); ++i) {
    crypto_box_easy_afternm(out.data(), reinterpret_cast<const unsigned char*>(tensor.data()), tensor.size(),
                            nonce, shared);
    sodium_increment(nonce, sizeof nonce);
  }
  return megabytes_per_s(total_bytes, begin_us);
}

// ---- a bare pair ---------------------------------------------------------------------------

std::string bytes_of(const std::array<std::uint8_t, 32>& key) { return {key.begin(), key.end()}; }

double bare_pair(const Traffic& traffic, const std::vector<std::byte>& tensor, bool is_curve) {
  zmq::context_t receiving(1), sending(1);
  const KeyPair server = generate_key_pair(), client = generate_key_pair();
  zmq::socket_t router(receiving, zmq::socket_type::router);
  zmq::socket_t dealer(sending, zmq::socket_type::dealer);
  const int window = static_cast<int>(traffic.window());
  router.set(zmq::sockopt::rcvhwm, window);
  dealer.set(zmq::sockopt::sndhwm, window);
  dealer.set(zmq::sockopt::linger, 0);
  if (is_curve) {
    router.set(zmq::sockopt::curve_server, true);
    router.set(zmq::sockopt::curve_secretkey, bytes_of(server.secret_key.bytes()));
    dealer.set(zmq::sockopt::curve_serverkey, bytes_of(server.public_key.bytes));
    dealer.set(zmq::sockopt::curve_publickey, bytes_of(client.public_key.bytes));
    dealer.set(zmq::sockopt::curve_secretkey, bytes_of(client.secret_key.bytes()));
  }
  router.bind("tcp://127.0.0.1:*");
  dealer.connect(router.get(zmq::sockopt::last_endpoint));
  std::thread sender([&] {
    for (std::uint64_t i = 0; i <= traffic.tensors(); ++i) {
      zmq::message_t message(
          const_cast<std::byte*>(tensor.data()), tensor.size(), [](void*, void*) {}, nullptr);
      dealer.send(message, zmq::send_flags::none);
    }
  });
  std::int64_t begin_us = 0;
  zmq::message_t message;
  for (std::uint64_t i = 0; i <= traffic.tensors(); ++i) {
    SIDESTEP_ASSERT(router.recv(message).has_value());
    SIDESTEP_ASSERT(router.recv(message).has_value() && message.size() == tensor.size());
    if (i == 0) begin_us = monotonic_us();  // the first also pays for the handshake
  }
  const double rate = megabytes_per_s(total_bytes, begin_us);
  sender.join();
  return rate;
}

// ---- our bus -------------------------------------------------------------------------------

// One node: a bus and its loop on a thread of its own.
struct Node {
  boost::asio::io_context io;
  KeyPair keys = generate_key_pair();
  std::unique_ptr<ZmqBus> bus;

  Node() {
    ZmqBusOptions options;
    options.keys = keys;
    options.data_bind = "127.0.0.1:0";
    auto made = ZmqBus::create(io, options);
    if (!made.ok()) {
      std::fprintf(stderr, "bench transport: %s\n", made.status().message().c_str());
      std::exit(1);
    }
    bus = std::move(made).value();
  }
};

MicrobatchHop hop_with(const std::shared_ptr<std::vector<std::byte>>& tensor) {
  MicrobatchHop hop;
  hop.scope = {"bench", 1, 1, 1};
  hop.tensor.dtype = DType::uint8;
  hop.tensor.shape = {static_cast<std::int64_t>(tensor->size())};
  hop.tensor.payload = Payload(tensor, tensor->data(), tensor->size());
  return hop;
}

double our_bus(const Traffic& traffic, const std::shared_ptr<std::vector<std::byte>>& tensor) {
  Node sender, receiver;
  sender.bus->add_peer(receiver.keys.public_key, Channel::data, receiver.bus->bound_address(Channel::data));
  receiver.bus->add_peer(sender.keys.public_key, Channel::data, sender.bus->bound_address(Channel::data));

  std::uint64_t sent = 0, acknowledged = 0;
  const auto send_next = [&] {
    // One more than is counted: the first also pays for the handshake.
    while (sent <= traffic.tensors() && sent - acknowledged < traffic.window())
      sender.bus->send(receiver.keys.public_key, Channel::data, {1, ++sent, hop_with(tensor)});
  };
  sender.bus->set_handlers({[&](const NodeKey&, Channel, Envelope envelope) {
                              acknowledged += std::get<Ack>(envelope.message).ids.size();
                              send_next();
                            },
                            [](const NodeKey&, Channel) {}, [](const std::string&) {}});
  std::uint64_t received = 0;
  std::int64_t begin_us = 0;
  double rate = 0;
  receiver.bus->set_handlers(
      {[&](const NodeKey& peer, Channel, Envelope envelope) {
         SIDESTEP_ASSERT(std::get<MicrobatchHop>(envelope.message).tensor.payload.size() == tensor->size());
         if (received++ == 0) begin_us = monotonic_us();
         receiver.bus->send(peer, Channel::data, {1, 0, Ack{1, {envelope.id}}});
         if (received <= traffic.tensors()) return;
         rate = megabytes_per_s(total_bytes, begin_us);
         receiver.io.stop();
       },
       [](const NodeKey&, Channel) {}, [](const std::string&) {}});

  const auto guard = boost::asio::make_work_guard(sender.io);
  std::thread sending([&] {
    while (sender.bus->link_report(receiver.keys.public_key, Channel::data).state != LinkState::up)
      sender.io.run_one();
    send_next();
    sender.io.run();
  });
  receiver.io.run();
  sender.io.stop();
  sending.join();
  SIDESTEP_ASSERT(rate > 0);
  return rate;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

nlohmann::json measure(std::size_t tensor_bytes) {
  const Traffic traffic{tensor_bytes};
  const auto tensor = std::make_shared<std::vector<std::byte>>(tensor_bytes);
  randombytes_buf(tensor->data(), tensor->size());
  const std::map<std::string, std::function<double()>> measurements = {
      {"bus", [&] { return our_bus(traffic, tensor); }},
      {"bare_curve", [&] { return bare_pair(traffic, *tensor, true); }},
      {"bare_plain", [&] { return bare_pair(traffic, *tensor, false); }},
      {"cipher", [&] { return cipher(traffic, *tensor); }},
  };
  std::map<std::string, std::vector<double>> rates;
  std::vector<double> ratios;
  for (int round = 0; round < rounds; ++round) {
    for (const auto& [name, run] : measurements) rates[name].push_back(run());
    ratios.push_back(rates["bus"].back() / rates["bare_curve"].back());
  }
  nlohmann::json result = {{"tensor_bytes", tensor_bytes}, {"bus_to_bare_curve", median(ratios)}};
  for (const auto& [name, values] : rates) {
    result[name + "_mb_per_s"] = median(values);
    result["rounds"][name] = values;
  }
  return result;
}

}  // namespace
}  // namespace sidestep::net

int main() {
  using namespace sidestep::net;
  SIDESTEP_ASSERT(sodium_init() >= 0);
  nlohmann::json report = {{"unit", "10^6 bytes a second; medians"}, {"results", nlohmann::json::array()}};
  for (const std::size_t bytes : {std::size_t{16} << 20, std::size_t{1} << 20})
    report["results"].push_back(measure(bytes));
  std::printf("%s\n", report.dump(2).c_str());
}

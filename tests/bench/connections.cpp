// Many nodes as one process, each with a key and a ZeroMQ bus of its own, at a real scheduler: how long until
// all are members, then heartbeats. Prints one JSON object a line; scripts/bench control runs it.
//
// usage: sidestep_bench_connections NODES SECONDS
//   out {"keys": [...]}                    the nodes' public keys, for the scheduler's config
//   in  HOST:PORT PUBLIC_KEY               of the scheduler, that has begun to listen
//   out {"connect_s": ...}                 all are members; heartbeats go on
//   out {"heartbeats_per_s": ..., ...}     after SECONDS
#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "net/clock.h"
#include "net/heartbeat.h"
#include "net/zmq_bus.h"

namespace sidestep::net {
namespace {

constexpr std::int64_t hello_repeat_us = second;
constexpr std::int64_t connect_limit_us = 120 * second;

void print(const nlohmann::json& line) {
  std::printf("%s\n", line.dump().c_str());
  std::fflush(stdout);
}

// A node as far as the scheduler can tell.
struct Node {
  KeyPair keys = generate_key_pair();
  BootId boot = random_boot_id();
  std::unique_ptr<ZmqBus> bus;
  bool member = false;
  std::int64_t due_us = 0;   // of its next Hello or Heartbeat
  std::int64_t sent_us = 0;  // its last heartbeat
  std::uint64_t beats = 0;
};

class Nodes {
 public:
  explicit Nodes(std::size_t count) : nodes_(count), timer_(io_) {}

  nlohmann::json keys() const {
    nlohmann::json keys = nlohmann::json::array();
    for (const Node& node : nodes_) keys.push_back(node.keys.public_key.hex());
    return keys;
  }

  Status connect(const std::string& address, const NodeKey& scheduler) {
    scheduler_ = scheduler;
    for (Node& node : nodes_) {
      auto bus = ZmqBus::create(io_, {.keys = node.keys, .control_bind = "", .data_bind = ""});
      if (!bus.ok()) return bus.status();
      node.bus = std::move(bus).value();
      node.bus->set_handlers(
          {[this, &node](const NodeKey&, Channel, Envelope envelope) { hear(node, envelope); },
           [](const NodeKey&, Channel) {}, [](const std::string&) {}});
      node.bus->add_peer(scheduler, Channel::control, address);
    }
    tick();
    const std::int64_t limit_us = monotonic_us() + connect_limit_us;
    while (members_ < nodes_.size() && monotonic_us() < limit_us) io_.run_one();
    if (members_ < nodes_.size())
      return Status::unavailable(std::to_string(members_) + " of " + std::to_string(nodes_.size()) +
                                 " nodes are members after " + std::to_string(connect_limit_us / second) +
                                 " s");
    return {};
  }

  nlohmann::json beat_for(std::int64_t duration_us) {
    round_trips_us_.clear();
    const std::int64_t end_us = monotonic_us() + duration_us;
    while (monotonic_us() < end_us) io_.run_one();
    std::ranges::sort(round_trips_us_);
    if (round_trips_us_.empty()) return {{"error", "no heartbeat was answered"}};
    const auto at = [&](std::size_t percent) {
      return static_cast<double>(round_trips_us_[(round_trips_us_.size() - 1) * percent / 100]) / 1e6;
    };
    return {{"heartbeats_per_s",
             static_cast<double>(round_trips_us_.size()) * 1e6 / static_cast<double>(duration_us)},
            {"answer_s", {{"median", at(50)}, {"p99", at(99)}, {"most", at(100)}}}};
  }

 private:
  void hear(Node& node, const Envelope& envelope) {
    if (std::holds_alternative<Welcome>(envelope.message)) {
      members_ += node.member ? 0 : 1;
      if (!std::exchange(node.member, true)) node.due_us = monotonic_us();
    } else if (std::holds_alternative<HeartbeatReply>(envelope.message)) {
      round_trips_us_.push_back(monotonic_us() - node.sent_us);
    }
    if (envelope.id != 0)
      node.bus->send(scheduler_, Channel::control,
                     {.boot = node.boot, .message = Ack{envelope.boot, {envelope.id}}});
  }

  void tick() {
    const std::int64_t now_us = monotonic_us();
    for (std::size_t n = 0; n < nodes_.size(); ++n) {
      Node& node = nodes_[n];
      if (now_us < node.due_us) continue;
      if (node.member) {
        node.due_us = now_us + heartbeat_us(heartbeat_us_min, nodes_.size());
        node.sent_us = now_us;
        node.bus->send(scheduler_, Channel::control,
                       {.boot = node.boot, .message = Heartbeat{++node.beats, {}}});
      } else {
        node.due_us = now_us + hello_repeat_us;
        Hello hello;
        hello.nickname = "node-" + std::to_string(n + 1);
        hello.data_address = "127.0.0.1:" + std::to_string(20'000 + n);
        node.bus->send(scheduler_, Channel::control, {.boot = node.boot, .message = hello});
      }
    }
    timer_.expires_after(std::chrono::milliseconds(10));
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (!error) tick();
    });
  }

  boost::asio::io_context io_;
  std::vector<Node> nodes_;
  boost::asio::steady_timer timer_;
  NodeKey scheduler_;
  std::size_t members_ = 0;
  std::vector<std::int64_t> round_trips_us_;
};

int measure(std::size_t count, double seconds) {
  Nodes nodes(count);
  print({{"keys", nodes.keys()}});
  std::string address, key;
  if (!(std::cin >> address >> key)) return 1;
  const auto scheduler = NodeKey::from_hex(key);
  if (!scheduler.ok()) {
    std::fprintf(stderr, "%s\n", scheduler.status().message().c_str());
    return 1;
  }
  const std::int64_t began_us = monotonic_us();
  if (const Status status = nodes.connect(address, scheduler.value()); !status.ok()) {
    std::fprintf(stderr, "%s\n", status.message().c_str());
    return 1;
  }
  print({{"connect_s", static_cast<double>(monotonic_us() - began_us) / 1e6}});
  print(nodes.beat_for(static_cast<std::int64_t>(seconds * 1e6)));
  return 0;
}

}  // namespace
}  // namespace sidestep::net

int main(int argc, char** argv) {
  const auto nodes = argc == 3 ? std::strtoul(argv[1], nullptr, 10) : 0;
  const double seconds = argc == 3 ? std::strtod(argv[2], nullptr) : 0;
  if (nodes < 1 || nodes > 2'000 || !(seconds > 0)) {
    std::fprintf(stderr, "usage: sidestep_bench_connections NODES SECONDS\n");
    return 2;
  }
  return sidestep::net::measure(nodes, seconds);
}

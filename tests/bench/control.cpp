// What the scheduler's core costs with many nodes: a virtual clock, no network, every message encoded and
// decoded. Prints one JSON object; scripts/bench control runs it, a process for each size, so that memory is
// that of this size alone.
//
// usage: sidestep_bench_control NODES SECONDS
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "net/clock.h"
#include "net/codec.h"
#include "net/heartbeat.h"
#include "scheduler/scheduler_core.h"

namespace sidestep::scheduler {
namespace {

constexpr std::int64_t tick_us = 20 * net::ms;
constexpr std::size_t join_nodes_max =
    1'000;  // beyond, a view for each node is more than a small machine holds

// Of this process, so far.
double cpu_seconds() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(use.ru_utime) + seconds(use.ru_stime);
}

std::uint64_t memory_bytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(field + ":")) return std::stoull(line.substr(field.size() + 1)) * 1024;
  return 0;
}

class Swarm {
 public:
  explicit Swarm(std::size_t nodes) {
    SchedulerOptions options;
    options.key = key(0);
    options.boot = 1;
    SavedState saved;
    saved.term = 1;
    saved.view.number = nodes;
    for (std::size_t n = 1; n <= nodes + 1; ++n) options.nodes.insert(key(n));
    for (std::size_t n = 1; n <= nodes; ++n) {
      const net::Hello said = hello(n);
      saved.view.members.push_back({key(n), boot(n), said.nickname, said.data_address});
      hellos_.push_back(net::encode({.boot = boot(n), .message = said}));
      const net::JobProgress progress{"bench-1", 1, 12, "step 13: 4 of 24 gradients added, 2 tasks wait",
                                      1u << 30};
      heartbeats_.push_back(net::encode({.boot = boot(n), .message = net::Heartbeat{1, progress}}));
    }
    std::ranges::sort(saved.view.members, {}, &net::Member::key);
    core_ = std::make_unique<SchedulerCore>(std::move(options), std::move(saved));
    SchedulerOutbox out;
    core_->on_start(now_us_, out);
  }

  std::size_t nodes() const { return heartbeats_.size(); }

  // As after a restart of the scheduler.
  void greet_all() {
    for (std::size_t n = 1; n <= nodes(); ++n) hear(n, hellos_[n - 1]);
  }

  // Every node's heartbeats, evenly over time.
  std::uint64_t beat_for(std::int64_t duration_us) {
    const std::int64_t every_us = net::heartbeat_us(net::heartbeat_us_min, nodes());
    std::uint64_t beats = 0, due = 0;
    for (std::int64_t passed_us = tick_us; passed_us <= duration_us; passed_us += tick_us) {
      now_us_ += tick_us;
      due = static_cast<std::uint64_t>(passed_us) * nodes() / static_cast<std::uint64_t>(every_us);
      for (; beats < due; ++beats) hear(1 + beats % nodes(), heartbeats_[beats % nodes()]);
      SchedulerOutbox out;
      core_->on_tick(now_us_, out);
      send(out);
    }
    return beats;
  }

  // One node more: every node gets the view, and acknowledges it.
  void join_one() {
    const std::size_t joiner = nodes() + 1;
    const net::Frames frames = net::encode({.boot = boot(joiner), .message = hello(joiner)});
    hear(joiner, frames);
    for (const auto& [peer, id] : std::exchange(unacknowledged_, {})) {
      const std::size_t n = number(peer);
      hear(n, net::encode({.boot = boot(n), .message = net::Ack{1, {id}}}));
    }
  }

  std::uint64_t sent_bytes() const { return sent_bytes_; }

 private:
  static net::NodeKey key(std::size_t n) {
    net::NodeKey key;
    for (std::size_t i = 0; i < key.bytes.size(); ++i) key.bytes[i] = static_cast<std::uint8_t>(37 * i + 11);
    for (std::size_t i = 0; i < 4; ++i) key.bytes[i] = static_cast<std::uint8_t>(n >> (8 * (3 - i)));
    return key;
  }
  static std::size_t number(const net::NodeKey& key) {
    std::size_t n = 0;
    for (std::size_t i = 0; i < 4; ++i) n = (n << 8) | key.bytes[i];
    return n;
  }
  static net::BootId boot(std::size_t n) { return 1'000'000 + n; }
  static net::Hello hello(std::size_t n) {
    net::Hello hello;
    hello.nickname = "node-" + std::to_string(n);
    hello.data_address = "10." + std::to_string(n >> 16) + '.' + std::to_string(n >> 8 & 255) + '.' +
                         std::to_string(n & 255) + ":7001";
    return hello;
  }

  void hear(std::size_t n, const net::Frames& frames) {
    const Result<net::Envelope> envelope = net::decode(frames);
    SIDESTEP_ASSERT(envelope.ok());
    SchedulerOutbox out;
    core_->on_message(now_us_, key(n), envelope.value(), out);
    send(out);
  }

  void send(const SchedulerOutbox& out) {
    for (const SchedulerAction& action : out) {
      const auto* sent = std::get_if<net::Send>(&action);
      if (sent == nullptr) continue;
      for (const net::Payload& frame : net::encode(sent->envelope)) sent_bytes_ += frame.size();
      if (sent->envelope.id != 0) unacknowledged_.emplace_back(sent->peer, sent->envelope.id);
    }
  }

  std::unique_ptr<SchedulerCore> core_;
  std::vector<net::Frames> hellos_, heartbeats_;
  std::vector<std::pair<net::NodeKey, std::uint64_t>> unacknowledged_;
  std::int64_t now_us_ = net::second;
  std::uint64_t sent_bytes_ = 0;
};

nlohmann::json measure(std::size_t nodes, double seconds) {
  const std::uint64_t before_bytes = memory_bytes("VmRSS");
  Swarm swarm(nodes);
  double began_s = cpu_seconds();
  swarm.greet_all();
  const double greet_s = cpu_seconds() - began_s;

  began_s = cpu_seconds();
  const std::uint64_t beats = swarm.beat_for(static_cast<std::int64_t>(seconds * 1e6));
  const double beat_s = cpu_seconds() - began_s;
  nlohmann::json result{
      {"nodes", nodes},
      {"heartbeat_s", static_cast<double>(net::heartbeat_us(net::heartbeat_us_min, nodes)) / 1e6},
      {"heartbeats_per_s", static_cast<double>(beats) / seconds},
      {"cpu_share", beat_s / seconds},
      {"cpu_us_a_heartbeat", beat_s / static_cast<double>(beats) * 1e6},
      {"resident_bytes", memory_bytes("VmRSS")},
      {"resident_bytes_before", before_bytes},
      {"all_greet_again_cpu_s", greet_s}};
  if (nodes > join_nodes_max) return result;
  const std::uint64_t sent_before = swarm.sent_bytes();
  began_s = cpu_seconds();
  swarm.join_one();
  swarm.beat_for(100 * net::ms);
  result["one_joins_cpu_s"] = cpu_seconds() - began_s;
  result["one_joins_sent_bytes"] = swarm.sent_bytes() - sent_before;
  result["peak_bytes"] = memory_bytes("VmHWM");
  return result;
}

}  // namespace
}  // namespace sidestep::scheduler

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: sidestep_bench_control NODES SECONDS\n");
    return 2;
  }
  const auto nodes = std::strtoul(argv[1], nullptr, 10);
  const double seconds = std::strtod(argv[2], nullptr);
  if (nodes < 1 || nodes > 1'000'000 || !(seconds > 0)) {
    std::fprintf(stderr, "sidestep_bench_control: 1 to 1000000 nodes, more than 0 seconds\n");
    return 2;
  }
  std::printf("%s\n", sidestep::scheduler::measure(nodes, seconds).dump(1).c_str());
  return 0;
}

// How far the other nodes are, and how fast the way to each is: small probes for the latency, some as large
// as an activation for the bandwidth, a few nodes at a time. Design: "Cost model" (measured, not configured).
// Pure; owned by NodeCore.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "net/messages.h"

namespace sidestep::daemon {

class LinkProber {
 public:
  using Send = std::function<void(const net::NodeKey& peer, const net::Probe& probe)>;
  using Done = std::function<void(std::int64_t now_us, const std::vector<net::LinkSpeed>& links)>;

  explicit LinkProber(Send send) : send_(std::move(send)) {}

  // Measures the way to each of these nodes with probes of up to `bytes`. done() has those that answered; it
  // comes within some seconds whoever answers, at once where there are no peers. A measurement under way is
  // given up.
  void begin(std::int64_t now_us, const std::vector<net::NodeKey>& peers, std::uint64_t bytes, Done done);
  void on_reply(std::int64_t now_us, const net::NodeKey& peer, const net::ProbeReply& reply);
  void on_tick(std::int64_t now_us);
  void stop();

 private:
  // Of one peer: the round trips of its small probes, then of its large ones.
  struct Way {
    std::uint64_t number = 0;  // of the probe under way
    std::int64_t sent_us = 0;
    int lost = 0;
    std::vector<std::int64_t> small_us, large_us;
  };

  void next(std::int64_t now_us);
  void probe(std::int64_t now_us, const net::NodeKey& peer, Way& way);
  void close(std::int64_t now_us, const net::NodeKey& peer);
  static net::LinkSpeed link_of(const net::NodeKey& peer, const Way& way, std::uint64_t bytes);

  Send send_;
  Done done_;
  std::uint64_t bytes_ = 0;
  std::uint64_t next_number_ = 1;
  std::int64_t deadline_us_ = 0;
  std::vector<net::NodeKey> waiting_;     // peers not begun
  std::map<net::NodeKey, Way> measured_;  // under way
  std::vector<net::LinkSpeed> links_;
};

}  // namespace sidestep::daemon

// How far the other nodes are, and how fast the way to each is: small probes to all for the latency, then
// some as large as an activation for the bandwidth, a few nodes at a time. Design: "Cost model" (measured,
// not configured). Pure; owned by NodeCore.
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

  // Measures the way to each of these nodes with probes of up to `bytes`. done() has all that were tried; one
  // that did not answer is as far as the wait was long. It comes within some seconds whoever answers, at once
  // where there are no peers. A measurement under way is given up.
  void begin(std::int64_t now_us, const std::vector<net::NodeKey>& peers, std::uint64_t bytes, Done done);
  void on_reply(std::int64_t now_us, const net::NodeKey& peer, const net::ProbeReply& reply);
  void on_tick(std::int64_t now_us);
  void stop();

 private:
  // Of one peer, with probes of one size.
  struct Way {
    std::map<std::uint64_t, std::int64_t> sent_us;  // by number, since the last answer
    std::vector<std::int64_t> round_trips_us;
  };

  void next(std::int64_t now_us);
  void probe(std::int64_t now_us, const net::NodeKey& peer, Way& way);
  void close(std::int64_t now_us, const net::NodeKey& peer);

  Send send_;
  Done done_;
  std::uint64_t bytes_ = 0;
  std::uint64_t next_number_ = 1;
  std::int64_t deadline_us_ = 0;
  bool large_ = false;                            // the size of the probes now
  std::vector<net::NodeKey> waiting_;             // peers not begun with this size
  std::map<net::NodeKey, Way> measured_;          // under way
  std::map<net::NodeKey, std::int64_t> near_us_;  // round trip of a small probe
  std::vector<net::LinkSpeed> links_;
};

}  // namespace sidestep::daemon

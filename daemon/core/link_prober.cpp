#include "daemon/core/link_prober.h"

#include <algorithm>

#include "net/clock.h"

namespace sidestep::daemon {
namespace {

// Small probes take no bandwidth that others would miss, and far away most of the time is waiting.
constexpr std::size_t small_at_a_time = 32, large_at_a_time = 4;
constexpr std::size_t small_probes = 3, large_probes = 2;
constexpr std::size_t sent_max = 3;  // without an answer, then the peer is given up
constexpr std::int64_t answer_us_max = net::second;
constexpr std::int64_t whole_us_min = 10 * net::second, whole_us_max = 40 * net::second;
constexpr std::int64_t whole_us_a_peer = 200 * net::ms;
constexpr std::uint64_t bytes_min = 1 << 12, bytes_max = 1 << 18;
constexpr double bytes_per_s_unknown = 125e6;  // where no large probe came back

}  // namespace

void LinkProber::begin(std::int64_t now_us, const std::vector<net::NodeKey>& peers, std::uint64_t bytes,
                       Done done) {
  stop();
  done_ = std::move(done);
  bytes_ = std::clamp(bytes, bytes_min, bytes_max);
  deadline_us_ = now_us + std::clamp(static_cast<std::int64_t>(peers.size()) * whole_us_a_peer, whole_us_min,
                                     whole_us_max);
  waiting_.assign(peers.rbegin(), peers.rend());
  next(now_us);
}

void LinkProber::stop() {
  done_ = {};
  large_ = false;
  waiting_.clear();
  measured_.clear();
  near_us_.clear();
  links_.clear();
}

// First how far everybody is, then how fast the ways to those that answered are.
void LinkProber::next(std::int64_t now_us) {
  if (!done_) return;
  if (!large_ && waiting_.empty() && measured_.empty()) {
    large_ = true;
    for (const auto& [peer, round_trip_us] : near_us_) waiting_.push_back(peer);
    std::reverse(waiting_.begin(), waiting_.end());
  }
  while (!waiting_.empty() && measured_.size() < (large_ ? large_at_a_time : small_at_a_time)) {
    const net::NodeKey peer = waiting_.back();
    waiting_.pop_back();
    probe(now_us, peer, measured_[peer]);
  }
  if (!measured_.empty()) return;
  const std::vector<net::LinkSpeed> links = std::exchange(links_, {});
  std::exchange(done_, {})(now_us, links);
}

void LinkProber::probe(std::int64_t now_us, const net::NodeKey& peer, Way& way) {
  const std::uint64_t number = next_number_++;
  way.sent_us.emplace(number, now_us);
  const std::uint64_t bytes = large_ ? bytes_ : 1;
  send_(peer, {number,
               1,
               {net::DType::uint8,
                {static_cast<std::int64_t>(bytes)},
                net::Payload::from_bytes(std::vector<std::byte>(bytes))}});
}

// An answer that comes after the next probe was sent counts too.
void LinkProber::on_reply(std::int64_t now_us, const net::NodeKey& peer, const net::ProbeReply& reply) {
  const auto found = measured_.find(peer);
  if (found == measured_.end()) return;
  Way& way = found->second;
  const auto sent = way.sent_us.find(reply.number);
  if (sent == way.sent_us.end()) return;
  way.round_trips_us.push_back(now_us - sent->second);
  way.sent_us.clear();
  if (way.round_trips_us.size() == (large_ ? large_probes : small_probes)) return close(now_us, peer);
  probe(now_us, peer, way);
}

void LinkProber::on_tick(std::int64_t now_us) {
  if (!done_) return;
  const bool over = now_us >= deadline_us_;
  std::vector<net::NodeKey> given_up;
  for (auto& [peer, way] : measured_) {
    if (!over && now_us - way.sent_us.rbegin()->second < answer_us_max) continue;
    if (over || way.sent_us.size() == sent_max)
      given_up.push_back(peer);
    else
      probe(now_us, peer, way);
  }
  // Who is near is known, if not how fast the way is.
  if (over)
    for (const net::NodeKey& peer : std::exchange(waiting_, {}))
      if (large_) links_.push_back({peer, near_us_.at(peer) / 2, bytes_per_s_unknown});
  for (const net::NodeKey& peer : given_up) close(now_us, peer);
}

// The quickest counts: what is slower waited for something else. Who did not answer is at least as far as the
// wait was long; routes then go there last.
void LinkProber::close(std::int64_t now_us, const net::NodeKey& peer) {
  const Way& way = measured_.at(peer);
  const auto quickest = std::min_element(way.round_trips_us.begin(), way.round_trips_us.end());
  const bool answered = quickest != way.round_trips_us.end();
  if (!large_) {
    if (answered)
      near_us_[peer] = *quickest;
    else
      links_.push_back({peer, (now_us - way.sent_us.begin()->second) / 2, bytes_per_s_unknown});
  } else {
    const std::int64_t near_us = near_us_.at(peer);
    const auto on_top_us = static_cast<double>(answered ? std::max<std::int64_t>(*quickest - near_us, 1) : 0);
    links_.push_back(
        {peer, near_us / 2, answered ? static_cast<double>(bytes_) / on_top_us * 1e6 : bytes_per_s_unknown});
  }
  measured_.erase(peer);
  next(now_us);
}

}  // namespace sidestep::daemon

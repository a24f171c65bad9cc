#include "daemon/core/link_prober.h"

#include <algorithm>

#include "net/clock.h"

namespace sidestep::daemon {
namespace {

constexpr std::size_t at_a_time = 4;
constexpr std::size_t small_probes = 3, large_probes = 2;
constexpr int lost_max = 3;  // probes without an answer, then the peer is given up
constexpr std::int64_t answer_us_max = net::second;
constexpr std::int64_t whole_us_max = 10 * net::second;
constexpr std::uint64_t bytes_min = 1 << 12, bytes_max = 1 << 18;

}  // namespace

void LinkProber::begin(std::int64_t now_us, const std::vector<net::NodeKey>& peers, std::uint64_t bytes,
                       Done done) {
  stop();
  done_ = std::move(done);
  bytes_ = std::clamp(bytes, bytes_min, bytes_max);
  deadline_us_ = now_us + whole_us_max;
  waiting_.assign(peers.rbegin(), peers.rend());
  next(now_us);
}

void LinkProber::stop() {
  done_ = {};
  waiting_.clear();
  measured_.clear();
  links_.clear();
}

void LinkProber::next(std::int64_t now_us) {
  if (!done_) return;
  while (!waiting_.empty() && measured_.size() < at_a_time) {
    const net::NodeKey peer = waiting_.back();
    waiting_.pop_back();
    probe(now_us, peer, measured_[peer]);
  }
  if (!measured_.empty()) return;
  const std::vector<net::LinkSpeed> links = std::exchange(links_, {});
  std::exchange(done_, {})(now_us, links);
}

void LinkProber::probe(std::int64_t now_us, const net::NodeKey& peer, Way& way) {
  way.number = next_number_++;
  way.sent_us = now_us;
  const std::uint64_t bytes = way.small_us.size() < small_probes ? 1 : bytes_;
  send_(peer, {way.number,
               1,
               {net::DType::uint8,
                {static_cast<std::int64_t>(bytes)},
                net::Payload::from_bytes(std::vector<std::byte>(bytes))}});
}

void LinkProber::on_reply(std::int64_t now_us, const net::NodeKey& peer, const net::ProbeReply& reply) {
  const auto found = measured_.find(peer);
  if (found == measured_.end() || found->second.number != reply.number) return;
  Way& way = found->second;
  (way.small_us.size() < small_probes ? way.small_us : way.large_us).push_back(now_us - way.sent_us);
  if (way.large_us.size() == large_probes) return close(now_us, peer);
  probe(now_us, peer, way);
}

void LinkProber::on_tick(std::int64_t now_us) {
  if (!done_) return;
  std::vector<net::NodeKey> given_up;
  for (auto& [peer, way] : measured_) {
    if (now_us < deadline_us_ && now_us - way.sent_us < answer_us_max) continue;
    if (now_us >= deadline_us_ || ++way.lost == lost_max)
      given_up.push_back(peer);
    else
      probe(now_us, peer, way);
  }
  if (now_us >= deadline_us_) waiting_.clear();
  for (const net::NodeKey& peer : given_up) close(now_us, peer);
}

void LinkProber::close(std::int64_t now_us, const net::NodeKey& peer) {
  const Way& way = measured_.at(peer);
  if (!way.small_us.empty() && !way.large_us.empty()) links_.push_back(link_of(peer, way, bytes_));
  measured_.erase(peer);
  next(now_us);
}

// The quickest of each: what is slower waited for something else.
net::LinkSpeed LinkProber::link_of(const net::NodeKey& peer, const Way& way, std::uint64_t bytes) {
  const std::int64_t small_us = *std::min_element(way.small_us.begin(), way.small_us.end());
  const std::int64_t large_us = *std::min_element(way.large_us.begin(), way.large_us.end());
  const std::int64_t on_top_us = std::max<std::int64_t>(large_us - small_us, 1);
  return {peer, small_us / 2, static_cast<double>(bytes) / static_cast<double>(on_top_us) * 1e6};
}

}  // namespace sidestep::daemon

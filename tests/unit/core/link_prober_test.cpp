#include "daemon/core/link_prober.h"

#include <catch2/catch.hpp>
#include <deque>

#include "net/clock.h"
#include "tests/unit/core/job_fixture.h"

using namespace sidestep;
using daemon::LinkProber;
using net::ms;
using net::second;
using test::JobFixture;

namespace {

// Answers each probe after a latency each way and the time that its bytes take; node 9 never answers.
struct Net {
  LinkProber prober{[this](const net::NodeKey& peer, const net::Probe& probe) {
    ++sent[peer];
    open = std::max(open, ++under_way);
    if (probe.tensor.payload.size() > 1) open_large = std::max(open_large, under_way);
    if (lose > 0 && lose-- > 0) return;
    const std::int64_t way_us = latency_us.value_or(1'000 * peer.bytes[0]);
    if (peer != JobFixture::node(9))
      coming.push_back({now_us + 2 * way_us + static_cast<std::int64_t>(probe.tensor.payload.size() / 10),
                        peer, probe.number});
  }};
  struct Reply {
    std::int64_t at_us;
    net::NodeKey peer;
    std::uint64_t number;
  };

  void run() {
    while (!links && now_us < 60 * second) {
      now_us += 100;
      for (std::size_t i = 0; i < coming.size();) {
        if (coming[i].at_us > now_us) {
          ++i;
          continue;
        }
        const Reply reply = coming[i];
        coming.erase(coming.begin() + static_cast<std::ptrdiff_t>(i));
        --under_way;
        prober.on_reply(now_us, reply.peer, {reply.number, {}});
      }
      prober.on_tick(now_us);
    }
  }

  void begin(std::vector<int> numbers, std::uint64_t bytes = 100'000) {
    std::vector<net::NodeKey> peers;
    for (const int number : numbers) peers.push_back(JobFixture::node(number));
    prober.begin(now_us, peers, bytes,
                 [this](std::int64_t, const std::vector<net::LinkSpeed>& found) { links = found; });
  }

  std::int64_t now_us = 5 * second;
  std::map<net::NodeKey, int> sent;
  std::deque<Reply> coming;
  int lose = 0;
  int under_way = 0, open = 0, open_large = 0;
  std::optional<std::int64_t> latency_us;  // of every way
  std::optional<std::vector<net::LinkSpeed>> links;
};

}  // namespace

TEST_CASE(
    "Link prober: latency is half a small probe's round trip, bandwidth what a large one takes on top") {
  Net net;
  net.begin({1, 2, 3, 4, 5, 6});
  net.run();
  REQUIRE(net.links);
  REQUIRE(net.links->size() == 6);
  for (const net::LinkSpeed& link : *net.links) {
    CHECK(link.latency_us == Approx(1'000 * link.node.bytes[0]).margin(100));
    CHECK(link.bytes_per_s == Approx(1e7).epsilon(0.05));
    CHECK(net.sent[link.node] == 5);
  }
}

TEST_CASE("Link prober: large probes go to a few nodes at a time, small ones to many") {
  Net net;
  std::vector<int> numbers;
  for (int number = 10; number < 70; ++number) numbers.push_back(number);
  net.begin(numbers);
  net.run();
  REQUIRE(net.links);
  CHECK(net.links->size() == 60);
  CHECK(net.open == 32);
  CHECK(net.open_large <= 4);
}

TEST_CASE("Link prober: who does not answer counts as far as the wait was long, in bounded time") {
  Net net;
  net.begin({1, 9, 2});
  net.run();
  REQUIRE(net.links);
  REQUIRE(net.links->size() == 3);
  CHECK(net.links->front().node == JobFixture::node(9));
  CHECK(net.links->front().latency_us >= 1'500 * ms);
  CHECK(net.sent[JobFixture::node(9)] == 3);
  CHECK(net.now_us < 5 * second + 4 * second);
}

TEST_CASE("Link prober: a way that takes longer than the wait for an answer is measured all the same") {
  Net net;
  net.latency_us = 700 * ms;
  net.begin({1});
  net.run();
  REQUIRE(net.links);
  REQUIRE(net.links->size() == 1);
  CHECK(net.links->front().latency_us == Approx(700'000).margin(200));
  CHECK(net.links->front().bytes_per_s == Approx(1e7).epsilon(0.1));
}

TEST_CASE("Link prober: a lost probe is sent again") {
  Net net;
  net.lose = 1;
  net.begin({1});
  net.run();
  REQUIRE(net.links);
  REQUIRE(net.links->size() == 1);
  CHECK(net.links->front().latency_us == Approx(1'000).margin(100));
}

TEST_CASE("Link prober: nobody to ask, and answers that nobody waits for") {
  Net net;
  net.begin({});
  REQUIRE(net.links);
  CHECK(net.links->empty());
  net.prober.on_reply(net.now_us, JobFixture::node(1), {7, {}});
  net.links.reset();
  net.begin({1});
  net.prober.stop();
  net.run();
  CHECK_FALSE(net.links);
}

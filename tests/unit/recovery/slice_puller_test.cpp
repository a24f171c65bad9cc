// The receiving half of the bulk transfer: what it asks for, and what it does when something is late or
// wrong.
#include "recovery/slice_puller.h"
#include "net/clock.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <map>
#include <set>

#include "tests/unit/core/job_fixture.h"

using namespace sidestep;
using recovery::PullOptions;
using recovery::SlicePuller;
using test::JobFixture;

namespace {

using net::ms;
using net::second;

// A puller of ten elements in slices of three from nodes 1 and 2, and what it has written.
struct Pull {
  explicit Pull(std::vector<int> nodes = {1, 2}) : puller(request(nodes), options(), write()) {}

  static recovery::PullRequest request(const std::vector<int>& nodes) {
    recovery::PullRequest request{"job-1", 40, 2, net::SnapshotPart::weights, 10, {}};
    for (const int node : nodes)
      request.sources.push_back({JobFixture::node(node), "node-" + std::to_string(node), "sha256:x"});
    return request;
  }
  static PullOptions options() {
    return {.slice_elements = 3, .window = 2, .repeat_us = second, .patience_us = 5 * second};
  }
  SlicePuller::Write write() {
    return [this](std::uint64_t begin, std::span<const std::byte> bytes) {
      if (disk_full) return Status::io("no space left");
      std::memcpy(values.data() + begin, bytes.data(), bytes.size());
      return Status();
    };
  }
  std::vector<std::uint64_t> tick(std::int64_t now_us) {
    std::vector<SlicePuller::Outgoing> out;
    puller.on_tick(now_us, out);
    return begins(out);
  }
  std::vector<std::uint64_t> begins(const std::vector<SlicePuller::Outgoing>& out) {
    std::vector<std::uint64_t> list;
    for (const auto& [to, wanted] : out) {
      CHECK(to == puller.source().node);
      CHECK(wanted.elements == (wanted.begin == 9 ? 1 : 3));
      list.push_back(wanted.begin);
    }
    return list;
  }
  net::Slice slice(std::uint64_t begin) const {
    std::vector<float> part;
    for (std::uint64_t i = begin; i < std::min<std::uint64_t>(10, begin + 3); ++i)
      part.push_back(static_cast<float>(i));
    return {"job-1", 40, 2, net::SnapshotPart::weights, begin, "", JobFixture::floats(part)};
  }
  std::vector<std::uint64_t> take(std::int64_t now_us, int node, const net::Slice& slice) {
    std::vector<SlicePuller::Outgoing> out;
    puller.on_slice(now_us, JobFixture::node(node), slice, out);
    return begins(out);
  }

  std::vector<float> values = std::vector<float>(10, -1);
  bool disk_full = false;
  SlicePuller puller;
};

using List = std::vector<std::uint64_t>;

struct Line {
  std::int64_t latency_us, slice_us;  // one slice after the other
  std::int64_t longer_after_us = 0, longer_us = 0;
};

struct LinePull {
  std::size_t most = 0;        // slices on their way at a time
  double busy = 0;             // share of the time that the line was sending
  std::int64_t latest_us = 0;  // of all slices
  std::int64_t ended_us = 0;
};

LinePull pull_over(const Line& line, std::uint64_t elements = 2'000) {
  recovery::PullRequest request = Pull::request({1});
  request.elements = elements;
  SlicePuller puller(request, {.slice_elements = 1, .window = 32},
                     [](std::uint64_t, std::span<const std::byte>) { return Status(); });
  LinePull result;
  std::multimap<std::int64_t, std::uint64_t> coming;  // by when
  std::int64_t free_us = 0, now = 0;
  std::vector<SlicePuller::Outgoing> out;
  puller.on_tick(0, out);
  while (!puller.complete()) {
    const std::int64_t latency_us = line.latency_us + (now >= line.longer_after_us ? line.longer_us : 0);
    for (const auto& one : out) {
      free_us = std::max(free_us, now + latency_us) + line.slice_us;
      coming.emplace(free_us, one.request.begin);
      result.latest_us = std::max(result.latest_us, free_us - now);
    }
    out.clear();
    result.most = std::max(result.most, coming.size());
    REQUIRE_FALSE(coming.empty());
    now = coming.begin()->first;
    const net::Slice slice{
        "job-1", 40, 2, net::SnapshotPart::weights, coming.begin()->second, "", JobFixture::floats({1})};
    coming.erase(coming.begin());
    puller.on_slice(now, JobFixture::node(1), slice, out);
  }
  result.ended_us = now;
  result.busy = static_cast<double>(elements) * static_cast<double>(line.slice_us) / static_cast<double>(now);
  return result;
}

}  // namespace

TEST_CASE("Slices: a window of them is asked for, and the next one when one arrives, in any order") {
  Pull pull;
  CHECK(pull.tick(0) == List{0, 3});
  CHECK(pull.tick(1).empty());
  CHECK(pull.take(2, 1, pull.slice(3)) == List{6});
  CHECK(pull.take(3, 1, pull.slice(3)).empty());  // a repeat
  CHECK(pull.take(4, 1, pull.slice(0)) == List{9});
  CHECK(pull.take(5, 1, pull.slice(9)).empty());
  CHECK_FALSE(pull.puller.complete());
  pull.take(6, 1, pull.slice(6));
  REQUIRE(pull.puller.complete());
  for (std::size_t i = 0; i < 10; ++i) CHECK(pull.values[i] == static_cast<float>(i));
}

TEST_CASE("Slices: the window grows on a fast line, and on a slow one stays as small as keeps it busy") {
  // 256 KiB at 8 GB/s, at 1 GB/s and 20 ms away, at 100 Mbit/s, at 10 Mbit/s.
  CHECK(pull_over({50, 30}).most == 32);
  CHECK(pull_over({20 * ms, 250}).most == 32);
  const LinePull slow = pull_over({20 * ms, 20 * ms});
  CHECK(slow.most <= 8);
  CHECK(slow.busy > 0.95);
  CHECK(slow.latest_us < 200 * ms);
  CHECK(pull_over({20 * ms, 200 * ms}).most <= 5);
  CHECK(pull_over({20 * ms, 200 * ms}).busy > 0.9);
}

TEST_CASE("Slices: where the way becomes longer for good the window grows again within two minutes") {
  const Line line{.latency_us = 20 * ms, .slice_us = 250, .longer_after_us = second, .longer_us = 200 * ms};
  constexpr std::uint64_t elements = 40'000;
  const auto whole_window_us = static_cast<std::int64_t>(elements) * 220 * ms / 32;
  CHECK(pull_over(line, elements).ended_us < whole_window_us + 150 * second);
}

TEST_CASE("Slices: what is lost is asked for again, what is only slow is not") {
  Pull pull;
  pull.tick(0);
  CHECK(pull.tick(second / 2).empty());
  // The later of two came: the first is lost, but may still be on its way for a while.
  CHECK(pull.take(second / 2, 1, pull.slice(3)) == List{6});
  CHECK(pull.tick(second - 1).empty());
  CHECK(pull.tick(second) == List{0});
  // Nothing came at all; the one that was repeated has longer.
  CHECK(pull.tick(2 * second) == List{6});
  CHECK(pull.tick(3 * second) == List{0});
}

TEST_CASE("Slices: on a line that is slower than the first wait, repeats become rare") {
  Pull pull;
  std::map<std::uint64_t, int> asked;
  for (std::int64_t now = 0; now < 60 * second; now += second / 10) {
    for (const std::uint64_t begin : pull.tick(now)) ++asked[begin];
    if (now % (4 * second) == 0 && now > 0)  // one every four seconds, whatever was asked
      for (const std::uint64_t begin : pull.take(now, 1, pull.slice((now / (4 * second) - 1) * 3)))
        ++asked[begin];
  }
  REQUIRE(pull.puller.complete());
  for (const auto& [begin, times] : asked) CHECK(times <= 4);  // seven when none waits longer than the first
}

TEST_CASE("Slices: another node takes over from the start when the first has a problem, is silent or lies") {
  Pull pull;
  pull.tick(0);
  pull.take(1, 1, pull.slice(0));
  List asked;
  std::string why;
  SECTION("it has no such snapshot") {
    net::Slice problem = pull.slice(3);
    problem.problem = "not here";
    problem.tensor = JobFixture::floats({});
    asked = pull.take(2, 1, problem);
    why = "node-1: not here";
  }
  SECTION("it is silent") {
    asked = pull.tick(6 * second);
    why = "node-1: sent nothing for 5 s";
  }
  SECTION("its slice has another size") {
    net::Slice wrong = pull.slice(3);
    wrong.tensor = JobFixture::floats({1});
    asked = pull.take(2, 1, wrong);
    why = "node-1: sent a slice of another size";
  }
  SECTION("its bytes have another digest") {
    for (const std::uint64_t begin : {3, 6, 9}) pull.take(2, 1, pull.slice(begin));
    REQUIRE(pull.puller.complete());
    pull.puller.reject("damaged");
    asked = pull.tick(3);
    why = "node-1: damaged";
  }
  CHECK(asked == List{0, 3});
  CHECK_FALSE(pull.puller.complete());
  // The first one's late slices are not the second's.
  pull.take(7 * second, 1, pull.slice(0));
  CHECK(pull.puller.received() == 0);
  pull.take(7 * second, 2, pull.slice(0));
  CHECK(pull.puller.received() == 3);
  pull.puller.reject("gone");
  REQUIRE(pull.puller.failed());
  CHECK_THAT(pull.puller.failure().message(),
             Catch::Contains("stage 2 at commit 40 of job job-1 cannot be had: " + why) &&
                 Catch::Contains("; node-2: gone"));
}

TEST_CASE("Slices: of another job, commit, stage or part are dropped") {
  Pull pull;
  pull.tick(0);
  for (const int what : {0, 1, 2, 3, 4}) {
    net::Slice other = pull.slice(0);
    if (what == 0) other.job = "job-2";
    if (what == 1) other.commit = 39;
    if (what == 2) other.stage = 1;
    if (what == 3) other.part = net::SnapshotPart::first_moment;
    if (what == 4) other.begin = 1;
    CHECK(pull.take(1, 1, other).empty());
  }
  CHECK(pull.puller.received() == 0);
}

TEST_CASE("Slices: a disk that is full ends the pull, nobody else is asked") {
  Pull pull;
  pull.tick(0);
  pull.disk_full = true;
  CHECK(pull.take(1, 1, pull.slice(0)).empty());
  REQUIRE(pull.puller.failed());
  CHECK_THAT(pull.puller.failure().message(), Catch::Contains("no space left"));
}

TEST_CASE("Slices: without a source there is a reason at once") {
  Pull pull(std::vector<int>{});
  CHECK(pull.puller.failed());
  CHECK_THAT(pull.puller.failure().message(), Catch::Contains("no node that is here holds it"));
}

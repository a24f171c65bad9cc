#include "recovery/rebuild_core.h"

#include <catch2/catch.hpp>
#include <cstring>

#include "net/clock.h"
#include "tests/unit/core/job_fixture.h"

using namespace sidestep;
using namespace sidestep::recovery;
using net::SnapshotPart;
using test::JobFixture;

namespace {

constexpr std::uint64_t elements = 10;
constexpr PullOptions pull{
    .slice_elements = 2, .window = 2, .repeat_us = 2'000'000, .patience_us = 30'000'000};

// What a stage's part holds at its replicas.
std::vector<float> part_of(std::uint32_t stage, std::size_t part) {
  std::vector<float> values;
  for (std::uint64_t i = 0; i < elements; ++i)
    values.push_back(static_cast<float>(100 * stage + 10 * part + i));
  return values;
}

std::string digest_of(const std::vector<float>& values) {
  return net::checksum(std::as_bytes(std::span(values)));
}

// Node 9 rebuilds stage 2 out of stage 1, at nodes 1 and 2, and stage 3, at node 3, as of commit 6.
struct Fixture {
  explicit Fixture(const scheduler::RecoverySpec& recovery = {},
                   std::vector<scheduler::RebuildSource> sources =
                       {{1, {JobFixture::node(1), JobFixture::node(2)}}, {3, {JobFixture::node(3)}}})
      : core({"job-1", recovery, JobFixture::node(9), 2, elements, 4, std::nullopt, 50, std::move(sources)},
             pull) {}

  net::StateOffer offer(std::uint32_t stage) const {
    net::StateOffer offer{{"job-1", 1, 4, 6}, stage, 2, elements, 5, stage == 1 ? 0.3 : 0.1, 1, {}, ""};
    for (std::size_t part = 0; part < 3; ++part) offer.digests.push_back(digest_of(part_of(stage, part)));
    return offer;
  }
  void offer_from(int node, const net::StateOffer& offer) {
    core.on_offer(now_us, JobFixture::node(node), "n" + std::to_string(node), offer, out);
    take();
  }
  void offer_all() {
    offer_from(1, offer(1));
    offer_from(2, offer(1));
    offer_from(3, offer(3));
  }

  void take() {
    for (RebuildAction& action : std::exchange(out, {})) {
      if (auto* ask = std::get_if<AskSlice>(&action)) asked.push_back(std::move(*ask));
      if (auto* combine = std::get_if<Combine>(&action)) combined.push_back(std::move(*combine));
      if (auto* finish = std::get_if<Finish>(&action)) finished.push_back(*finish);
      if (auto* end = std::get_if<GiveUp>(&action)) given_up.push_back(end->why);
      if (auto* tell = std::get_if<Tell>(&action)) told.push_back(tell->text);
    }
  }

  void answer(const AskSlice& ask, float more = 0) {
    const net::SliceRequest& request = ask.request;
    const auto part = static_cast<std::size_t>(request.part) - 3;
    const std::vector<float> whole = part_of(request.stage, part);
    std::vector<float> values(whole.begin() + static_cast<std::ptrdiff_t>(request.begin),
                              whole.begin() + static_cast<std::ptrdiff_t>(request.begin + request.elements));
    values[0] += more;
    core.on_slice(now_us, ask.to,
                  {request.job, request.commit, request.stage, request.part, request.begin, "",
                   JobFixture::floats(values)},
                  out);
    take();
  }
  // Until nothing more is asked for; `last_first` turns the order round.
  void answer_all(bool last_first = false) {
    while (!asked.empty()) {
      std::vector<AskSlice> asks = std::exchange(asked, {});
      if (last_first) std::ranges::reverse(asks);
      for (const AskSlice& ask : asks) answer(ask);
      store_all();
    }
  }
  // What was combined since the last time.
  void store_all() {
    for (; stored < combined.size(); ++stored) core.on_combined(now_us, out);
    take();
  }
  std::vector<float> combination(SnapshotPart part) const {
    std::vector<float> values(elements, -1);
    for (const Combine& combine : combined)
      for (const auto& [slice, weight] : combine.slices) {
        if (combine.part != part) continue;
        std::vector<float> one(slice.payload.size() / sizeof(float));
        std::memcpy(one.data(), slice.payload.data(), slice.payload.size());
        const bool first = &slice == &combine.slices.front().first;
        for (std::size_t i = 0; i < one.size(); ++i)
          values[combine.begin + i] =
              (first ? 0 : values[combine.begin + i]) + static_cast<float>(weight) * one[i];
      }
    return values;
  }

  std::int64_t now_us = 0;
  RebuildCore core;
  RebuildActions out;
  std::vector<AskSlice> asked;
  std::vector<Combine> combined;
  std::size_t stored = 0;
  std::vector<Finish> finished;
  std::vector<std::string> given_up, told;
};

}  // namespace

TEST_CASE(
    "Rebuild core: a mirror of the stage itself is taken as it is, with the weights' count of updates") {
  scheduler::RecoverySpec recovery;
  recovery.policy = "mirror";
  recovery.every = 4;
  recovery.moments = GENERATE("average", "fresh");
  recovery.weights = GENERATE("gradient", "random");  // is for neighbours
  const bool moments = recovery.moments == "average";
  Fixture f(recovery, {{2, {JobFixture::node(5)}}});
  net::StateOffer offer = f.offer(2);
  offer.learning_rate_scale = 1.3;
  offer.mirror = 4;
  f.offer_from(5, offer);
  CHECK(f.core.commit() == 6);  // that of the offer: Commits from there on are followed
  REQUIRE_FALSE(f.asked.empty());
  CHECK(f.asked[0].request.commit == 4);
  f.answer_all();
  REQUIRE(f.finished.size() == 1);
  CHECK(f.finished[0].commit == 6);
  CHECK(f.finished[0].updates == (moments ? 5 : 0));
  CHECK(f.finished[0].gradient_norm == (moments ? 0.1 : 0.0));
  CHECK(f.finished[0].learning_rate_scale == 1.3);
  CHECK(f.finished[0].from_mirror);
  CHECK(f.combination(SnapshotPart::weights) == part_of(2, 0));
  if (moments) CHECK(f.combination(SnapshotPart::second_moment) == part_of(2, 2));
  f.core.on_finished(1'000, f.out);
  const scheduler::RecordRecovery record = f.core.record();
  CHECK(record.is_own());
  CHECK(record.commit == 4);
  CHECK(record.policy == "mirror");
  CHECK(record.moments == moments);
}

TEST_CASE("Rebuild core: a mirror that cannot be taken is given up, for nobody else has one") {
  Fixture f({}, {{2, {JobFixture::node(5)}}});
  net::StateOffer old = f.offer(2);
  --old.scope.epoch;
  f.offer_from(5, old);  // of a plan before: another offer comes
  CHECK(f.given_up.empty());
  f.offer_from(5, f.offer(2));
  REQUIRE(f.given_up.size() == 1);
  CHECK(f.given_up[0] == "its mirror cannot be had: it is no mirror");
}

TEST_CASE("Rebuild core: pairs of slices of all parts, weighed by the norms, then the end") {
  const bool last_first = GENERATE(false, true);
  Fixture f;
  f.offer_from(1, f.offer(1));
  f.offer_from(3, f.offer(3));
  CHECK(f.asked.empty());  // the other replica of stage 1 may offer it
  f.offer_from(2, f.offer(1));
  CHECK(f.core.commit() == 6);
  REQUIRE(f.asked.size() == 4);  // two of each
  f.answer_all(last_first);
  CHECK(f.combined.size() == 3 * elements / 2);
  REQUIRE(f.finished.size() == 1);
  CHECK(f.finished[0].commit == 6);
  CHECK(f.finished[0].updates == 5);
  CHECK(f.finished[0].learning_rate_scale == 1.1);
  for (std::size_t part = 0; part < 3; ++part) {
    const std::vector<float> got = f.combination(static_cast<SnapshotPart>(part));
    for (std::size_t i = 0; i < elements; ++i)
      CHECK(got[i] == Approx((0.3001 * part_of(1, part)[i] + 0.1001 * part_of(3, part)[i]) / 0.4002));
  }
  CHECK_FALSE(f.core.done());
  f.core.on_finished(1'000, f.out);
  REQUIRE(f.core.done());
  const scheduler::RecordRecovery record = f.core.record();
  CHECK(record.node == JobFixture::node(9));
  CHECK(record.bytes == 2 * 3 * elements * sizeof(float));
  CHECK(record.moments);
  const auto parsed = scheduler::parse_recovery(scheduler::to_json(record));
  REQUIRE(parsed.ok());
  CHECK(parsed.value() == record);
}

TEST_CASE("Rebuild core: a fast source is not asked for more than the slow one has given, and a window") {
  Fixture f;
  f.offer_all();
  for (int round = 0; round < 20; ++round)
    for (const AskSlice& ask : std::exchange(f.asked, {}))
      if (ask.request.stage == 1) f.answer(ask);
  CHECK(f.combined.empty());
  CHECK(f.core.describe().find("rebuilds stage 2") != std::string::npos);
  f.core.on_tick(1, f.out);
  f.take();
  CHECK(f.asked.empty());
}

TEST_CASE("Rebuild core: no more is asked for than what is stored leaves room for") {
  Fixture f;
  f.offer_all();
  for (int round = 0; round < 20; ++round)
    for (const AskSlice& ask : std::exchange(f.asked, {})) f.answer(ask);
  CHECK(f.combined.size() == pull.window);  // nothing of it is stored so far
  f.core.on_tick(1, f.out);
  f.take();
  CHECK(f.asked.empty());
  f.store_all();
  CHECK_FALSE(f.asked.empty());
  f.answer_all();
  CHECK(f.finished.size() == 1);
}

TEST_CASE("Rebuild core: without moments only the weights are pulled") {
  scheduler::RecoverySpec recovery;
  recovery.moments = "fresh";
  Fixture f(recovery);
  f.offer_all();
  f.answer_all();
  f.store_all();
  REQUIRE(f.finished.size() == 1);
  CHECK(f.finished[0].updates == 0);
  CHECK(f.combined.size() == elements / 2);
}

TEST_CASE("Rebuild core: fresh weights need no slices, but the commit from which they count") {
  scheduler::RecoverySpec recovery;
  recovery.weights = "random";
  Fixture f(recovery);
  CHECK(f.finished.empty());
  f.offer_all();
  CHECK(f.asked.empty());
  REQUIRE(f.finished.size() == 1);
  CHECK(f.finished[0].commit == 6);
}

TEST_CASE("Rebuild core: a replica whose slices are not what it offered is left for the next") {
  Fixture f;
  f.offer_all();
  bool spoilt = false;
  while (!f.asked.empty())
    for (const AskSlice& ask : std::exchange(f.asked, {})) {
      const bool spoil = !spoilt && ask.to == JobFixture::node(1);
      spoilt |= spoil;
      f.answer(ask, spoil ? 1.0f : 0.0f);
      f.store_all();
    }
  REQUIRE(f.told.size() == 1);
  CHECK(f.told[0].find("leaves n1: n1: its digest is") == 0);
  f.store_all();
  CHECK(f.finished.size() == 1);
  const std::vector<float> got = f.combination(SnapshotPart::weights);
  CHECK(got[0] == Approx((0.3001 * part_of(1, 0)[0] + 0.1001 * part_of(3, 0)[0]) / 0.4002));
}

TEST_CASE("Rebuild core: it gives up when no replica of a source is left, and says what each did") {
  Fixture f;
  f.offer_all();
  f.now_us = 31 * net::second;
  f.core.on_tick(f.now_us, f.out);
  f.take();
  CHECK(f.given_up.empty());  // node 2 has not been asked yet
  f.now_us = 70 * net::second;
  f.core.on_tick(f.now_us, f.out);
  f.take();
  REQUIRE(f.given_up.size() == 1);
  CHECK(f.given_up[0].find("cannot be had: ") != std::string::npos);
}

TEST_CASE("Rebuild core: a source that has no memory for a copy is told of, and waited for no longer") {
  Fixture f;
  net::StateOffer none = f.offer(3);
  none.problem = "no memory";
  f.offer_from(1, f.offer(1));
  f.offer_from(3, none);
  f.core.on_tick(2 * net::second, f.out);
  f.take();
  REQUIRE(f.given_up.size() == 1);
  CHECK(f.given_up[0] == "no replica of stage 3 can give its state: n3: no memory");
}

TEST_CASE("Rebuild core: offers that do not fit are dropped and told") {
  Fixture f;
  const auto told_for = [&](int node, const net::StateOffer& offer) {
    f.told.clear();
    f.offer_from(node, offer);
    return f.told.empty() ? "" : f.told.front();
  };
  net::StateOffer other = f.offer(1);
  other.scope.epoch = 3;
  CHECK(told_for(1, other) == "dropped the offer of stage 1 at n1: it is of plan 3");
  other = f.offer(1);
  other.elements = 11;
  CHECK(told_for(1, other) == "dropped the offer of stage 1 at n1: its layers have 11 elements, not 10");
  other = f.offer(1);
  other.digests.pop_back();
  CHECK(told_for(1, other) == "dropped the offer of stage 1 at n1: it is malformed");
  other = f.offer(3);
  other.stage = 4;
  CHECK(told_for(3, other) == "dropped the offer of stage 4 at n3: it is no neighbour");
  CHECK(told_for(3, f.offer(1)) == "dropped the offer of stage 1 at n3: it does not hold that stage");
  other = f.offer(1);
  other.scope.step = 51;
  CHECK(told_for(1, other) == "dropped the offer of stage 1 at n1: it is of a commit beyond the job's last");
  CHECK(told_for(1, f.offer(1)).empty());
  other = f.offer(3);
  other.scope.step = 7;
  CHECK(told_for(3, other) == "dropped the offer of stage 3 at n3: it is of commit 7, not 6");
}

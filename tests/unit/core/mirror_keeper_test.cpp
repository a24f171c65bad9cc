#include "daemon/core/mirror_keeper.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <numeric>
#include <span>

#include "net/clock.h"
#include "tests/unit/core/job_fixture.h"

using namespace sidestep;
using daemon::MirrorKeeper;
using test::JobFixture;

namespace {

constexpr std::uint64_t mirror_stage = 1;
constexpr std::uint64_t pulled_elements = recovery::PullOptions().slice_elements;
constexpr std::uint64_t mirror_elements = 2 * pulled_elements + 5;

std::vector<float> mirror_part_of(std::uint64_t commit, std::size_t part) {
  std::vector<float> values(mirror_elements);
  std::iota(values.begin(), values.end(), static_cast<float>(1000 * commit + 100 * part));
  return values;
}

// Node 3 keeps the mirror of stage 1, which nodes 1 and 2 hold.
struct KeeperFixture {
  KeeperFixture() : job(3, {{1}, {1, 2}, {3}}, 2) {
    job.context.spec.recovery.policy = "mirror";
    job.context.spec.recovery.every = 4;
    job.context.spec.steps = 100;
    job.context.spec.model.hidden_size = 512;  // stages are at least as large as what is offered
    job.context.spec.model.intermediate_size = 1024;
    job.context.spec.model.num_hidden_layers = 3;
    job.context.plan.mirrors[JobFixture::node(3)] = {mirror_stage};
    job.context.step = 5;
  }

  net::StateOffer offer(std::uint64_t commit) const {
    net::StateOffer offer{
        job.context.scope_of(commit), mirror_stage, mirror_stage, mirror_elements, 3, 0.5, 1.1, {}, ""};
    for (std::size_t part = 0; part < 3; ++part) {
      const std::vector<float> values = mirror_part_of(commit, part);
      offer.digests.push_back(net::checksum(std::as_bytes(std::span(values))));
    }
    return offer;
  }
  void offer_from(int node, const net::StateOffer& offer) {
    keeper.on_offer(0, JobFixture::node(node), offer);
  }

  // Until nothing more is asked for; the last request first.
  void answer_all(float more = 0) {
    while (!asked.empty()) {
      auto requests = std::exchange(asked, {});
      for (auto one = requests.rbegin(); one != requests.rend(); ++one) {
        const net::SliceRequest& request = one->second;
        const std::vector<float> whole = mirror_part_of(request.commit, net::part_number(request.part));
        const auto first = whole.begin() + static_cast<std::ptrdiff_t>(request.begin);
        std::vector<float> values(first, first + static_cast<std::ptrdiff_t>(request.elements));
        values[0] += more;
        keeper.on_slice(0, one->first,
                        {request.job, request.commit, request.stage, request.part, request.begin, "",
                         JobFixture::floats(values)});
      }
    }
  }
  std::optional<std::vector<float>> read(std::uint64_t commit, net::SnapshotPart part, std::uint64_t begin,
                                         std::uint64_t length) const {
    const auto slice = keeper.read({"job-1", commit, mirror_stage, part, begin, length});
    if (!slice) return std::nullopt;
    REQUIRE(slice->shape == std::vector<std::int64_t>{static_cast<std::int64_t>(length)});
    std::vector<float> values(length);
    REQUIRE(slice->payload.size() == length * sizeof(float));
    std::memcpy(values.data(), slice->payload.data(), slice->payload.size());
    return values;
  }

  JobFixture job;
  std::vector<std::pair<net::NodeKey, net::SliceRequest>> asked;
  std::vector<std::pair<net::NodeKey, net::MirrorKept>> told;
  MirrorKeeper keeper{job.context,
                      {[this](const net::NodeKey& to, net::Message message) {
                         asked.emplace_back(to, std::get<net::SliceRequest>(message));
                       },
                       [this](std::int64_t, const net::NodeKey& source, const net::MirrorKept& kept) {
                         told.emplace_back(source, kept);
                       }}};
};

}  // namespace

TEST_CASE("Mirror keeper: pulls part after part, tells when it is whole, and gives any slice of it") {
  KeeperFixture f;
  f.job.context.spec.recovery.moments = GENERATE("average", "fresh");
  const bool moments = f.job.context.spec.recovery.moments == "average";
  f.offer_from(1, f.offer(4));
  CHECK_FALSE(f.read(4, net::SnapshotPart::weights, 0, 1));
  f.answer_all();
  REQUIRE(f.told.size() == 1);
  CHECK(f.told[0].first == JobFixture::node(1));
  CHECK(f.told[0].second.stage == mirror_stage);
  CHECK(f.told[0].second.scope.step == 4);
  const auto is_right = [&](net::SnapshotPart part, std::uint64_t begin, std::uint64_t length) {
    const std::vector<float> whole = mirror_part_of(4, net::part_number(part));
    const auto first = whole.begin() + static_cast<std::ptrdiff_t>(begin);
    return f.read(4, part, begin, length) ==
           std::vector<float>(first, first + static_cast<std::ptrdiff_t>(length));
  };
  for (const auto part : {net::SnapshotPart::weights, net::SnapshotPart::layer_weights}) {
    CHECK(is_right(part, 0, pulled_elements));
    CHECK(is_right(part, 7, 3));
    CHECK(is_right(part, 3, mirror_elements - 3));  // over the bounds of what was pulled
    CHECK(is_right(part, mirror_elements - 1, 1));
  }
  CHECK(f.read(4, net::SnapshotPart::second_moment, 0, 2).has_value() == moments);
  CHECK_FALSE(f.read(3, net::SnapshotPart::weights, 0, 1));
  CHECK_FALSE(f.read(4, net::SnapshotPart::weights, mirror_elements, 1));
  CHECK_FALSE(f.read(4, net::SnapshotPart::weights, 1, mirror_elements));
  const net::StateOffer given = f.keeper.offer_of(mirror_stage);
  CHECK(given.mirror == 4);
  CHECK(given.scope.step == 5);
  CHECK(given.updates == 3);
  CHECK(given.learning_rate_scale == 1.1);
  CHECK(given.problem.empty());
  CHECK(given.digests == f.offer(4).digests);
}

TEST_CASE("Mirror keeper: the one before stays until the next is whole and right") {
  KeeperFixture f;
  f.offer_from(1, f.offer(4));
  f.answer_all();
  f.offer_from(1, f.offer(8));
  CHECK(f.keeper.offer_of(mirror_stage).mirror == 4);
  SECTION("whole") {
    f.answer_all();
    CHECK(f.keeper.offer_of(mirror_stage).mirror == 8);
    CHECK_FALSE(f.read(4, net::SnapshotPart::weights, 0, 1));
  }
  SECTION("other values than those that were offered") {
    f.answer_all(1);
    CHECK(f.keeper.offer_of(mirror_stage).mirror == 4);
    REQUIRE(f.told.size() == 2);
    CHECK(f.told[1].second.scope.step == 8);
    CHECK(f.told[1].second.problem.find("its digest is") == 0);
    REQUIRE_FALSE(f.job.lines.empty());
    CHECK(f.job.lines.back().find(f.told[1].second.problem) != std::string::npos);
    f.offer_from(1, f.offer(12));  // and the next is taken
    f.answer_all();
    CHECK(f.keeper.offer_of(mirror_stage).mirror == 12);
  }
  SECTION("its source is silent") {
    f.keeper.on_tick(0);
    f.keeper.on_tick(2 * recovery::PullOptions().patience_us);
    f.asked.clear();
    f.keeper.on_tick(3 * recovery::PullOptions().patience_us);
    CHECK(f.asked.empty());
    CHECK(f.keeper.offer_of(mirror_stage).mirror == 4);
    REQUIRE(f.told.size() == 2);
    CHECK_FALSE(f.told[1].second.problem.empty());
  }
  SECTION("a later one begins before it is whole") {
    f.asked.clear();
    f.offer_from(2, f.offer(12));
    f.answer_all();
    CHECK(f.keeper.offer_of(mirror_stage).mirror == 12);
    REQUIRE(f.told.size() == 2);
    CHECK(f.told[1].first == JobFixture::node(2));
  }
}

TEST_CASE("Mirror keeper: an offer that does not fit is dropped and named") {
  KeeperFixture f;
  const auto told_for = [&](int node, const net::StateOffer& offer) {
    f.job.lines.clear();
    f.offer_from(node, offer);
    CHECK(f.asked.empty());
    REQUIRE(f.job.lines.size() == 1);
    // Whoever offers it keeps a copy until it hears.
    REQUIRE_FALSE(f.told.empty());
    CHECK(f.told.back().first == JobFixture::node(node));
    CHECK_FALSE(f.told.back().second.problem.empty());
    return f.job.lines[0].substr(f.job.lines[0].rfind(": ") + 2);
  };
  CHECK(told_for(3, f.offer(4)) == "it does not hold the stage");
  net::StateOffer bad = f.offer(4);
  bad.problem = "out of memory";
  CHECK(told_for(1, bad) == "out of memory");
  for (const int what : {0, 1, 2, 3, 4, 5, 6}) {
    bad = f.offer(4);
    if (what == 0) bad.digests.pop_back();
    if (what == 1) bad.updates = 5;
    if (what == 2) bad.mirror = 1;
    if (what == 3) bad.elements = 0;
    if (what == 4) bad.elements = 1ull << 40;
    if (what == 5) bad.scope.step = 7;
    if (what == 6) bad.scope.step = 1'000'000;
    CHECK(told_for(1, bad) == "the offer is malformed");
  }
  f.offer_from(1, f.offer(4));
  f.answer_all();
  f.job.lines.clear();
  f.offer_from(2, f.offer(4));  // a repeat, and an older one
  f.offer_from(1, f.offer(3));
  CHECK(f.asked.empty());
  CHECK(f.job.lines.empty());
}

TEST_CASE("Mirror keeper: a new plan ends what it does without, and a stage that is out keeps its mirror") {
  KeeperFixture f;
  f.offer_from(1, f.offer(4));
  f.answer_all();
  f.offer_from(1, f.offer(8));
  scheduler::Plan& plan = f.job.context.plan;
  SECTION("the stage is out: what was whole stays, what comes ends") {
    plan.stages_of = {{JobFixture::node(3), {2}}, {JobFixture::node(4), {0}}};
    plan.stages_out = {mirror_stage};
    f.keeper.on_plan();
    f.answer_all();
    CHECK(f.keeper.offer_of(mirror_stage).mirror == 4);
    f.offer_from(1, f.offer(12));
    CHECK(f.asked.empty());
  }
  SECTION("another keeps it") {
    plan.mirrors.clear();
    f.keeper.on_plan();
    f.answer_all();
    CHECK_FALSE(f.keeper.offer_of(mirror_stage).problem.empty());
    CHECK_FALSE(f.read(4, net::SnapshotPart::weights, 0, 1));
  }
}

#include "daemon/core/measures.h"

#include <catch2/catch.hpp>

#include "tests/unit/core/job_fixture.h"

using namespace sidestep;
using daemon::LinkMeasures;
using daemon::SmoothedFigure;
using daemon::TaskMeasures;
using net::StepTaskKind;
using test::JobFixture;

namespace {

SmoothedFigure figure_of(const std::vector<double>& samples) {
  SmoothedFigure figure;
  for (const double sample : samples) figure.add(sample);
  return figure;
}

net::StepTask task(StepTaskKind kind, std::uint32_t stage, std::int64_t begin_us, std::int64_t end_us) {
  return {kind, false, 0, stage, 0, 0, begin_us, end_us};
}

}  // namespace

TEST_CASE("SmoothedFigure: the mean, as long as nothing is out of the ordinary") {
  CHECK_FALSE(SmoothedFigure().value());
  CHECK(*figure_of({7}).value() == 7);
  CHECK(*figure_of({90, 100, 110, 100}).value() == 100);
}

TEST_CASE("SmoothedFigure: what is far from the median does not count") {
  CHECK(*figure_of({90, 100, 110, 100, 5'000}).value() == 100);
  CHECK(*figure_of({90, 100, 110, 100, 1}).value() == 100);
  // Samples that hardly differ make nobody an outlier who is within 5 %.
  CHECK(*figure_of({100, 100, 100, 100, 104}).value() == Approx(100.8));
  CHECK(*figure_of({100, 100, 100, 100, 106}).value() == 100);
}

TEST_CASE("SmoothedFigure: a machine that became slower is believed after half a window") {
  SmoothedFigure figure;
  for (int i = 0; i < 64; ++i) figure.add(100);
  for (int i = 0; i < 31; ++i) figure.add(300);
  CHECK(*figure.value() == 100);
  for (int i = 0; i < 2; ++i) figure.add(300);
  CHECK(*figure.value() == 300);
}

TEST_CASE("TaskMeasures: each kind and stage for itself, without validation") {
  TaskMeasures measures;
  CHECK(measures.stages().empty());
  CHECK(measures.head_us() == 0);
  CHECK(measures.averaging_bytes_per_s() == 0);
  net::StepTimes step;
  step.tasks = {task(StepTaskKind::forward, 2, 100, 150), task(StepTaskKind::backward, 2, 200, 290),
                task(StepTaskKind::forward, 0, 10, 30), task(StepTaskKind::head, 0, 300, 307),
                task(StepTaskKind::forward, 0, 40, 60)};
  step.tasks.push_back(task(StepTaskKind::forward, 2, 0, 900));
  step.tasks.back().evaluation = true;
  step.averages = {{0, 400, 1'400, 2'000}, {2, 400, 500, 0}};  // stage 2 has no replica: nothing travelled
  measures.add(step);
  CHECK(measures.stages() == std::vector<net::StageSpeed>{{0, 20, 0}, {2, 50, 90}});
  CHECK(measures.head_us() == 7);
  CHECK(measures.averaging_bytes_per_s() == Approx(2e6));
  net::StepTimes waited;
  waited.averages = {{0, 400, 4'400, 2'000}};  // for another replica's gradients
  for (int i = 0; i < 15; ++i) measures.add(waited);
  CHECK(measures.averaging_bytes_per_s() == Approx(2e6));
  measures.add(waited);
  CHECK(measures.averaging_bytes_per_s() == Approx(0.5e6));
}

TEST_CASE("LinkMeasures: small letters tell the latency, large ones the bandwidth, the quickest of each") {
  LinkMeasures links;
  const net::NodeKey peer = JobFixture::node(3);
  for (const std::int64_t us : {900, 600, 5'000}) links.round_trip(peer, 0, us);
  CHECK(links.links().empty());  // small ones alone do not say how wide the way is
  links.round_trip(peer, 100'000, 2'600);
  links.round_trip(peer, 100'000, 1'600);
  const auto found = links.links();
  REQUIRE(found.size() == 1);
  CHECK(found[0].node == peer);
  CHECK(found[0].latency_us == 300);
  CHECK(found[0].bytes_per_s == Approx(100'000 / 0.001));
}

TEST_CASE("LinkMeasures: probes count until letters say otherwise, and a way that became slow is believed") {
  LinkMeasures links;
  const net::NodeKey peer = JobFixture::node(3);
  links.probed({{peer, 1'000, 50e6}});
  CHECK(links.links() == std::vector<net::LinkSpeed>{{peer, 1'000, 50e6}});
  // 10 ms beyond the probes' round trip.
  links.round_trip(peer, 200'000, 12'000);
  CHECK(links.links()[0].latency_us == 1'000);
  CHECK(links.links()[0].bytes_per_s == Approx(20e6));
  for (int i = 0; i < 15; ++i) links.round_trip(peer, 200'000, 102'000);
  CHECK(links.links()[0].bytes_per_s == Approx(20e6));
  links.round_trip(peer, 200'000, 102'000);
  CHECK(links.links()[0].bytes_per_s == Approx(2e6));
  // A large letter that is there and back sooner than two latencies: the latency was less.
  links.round_trip(peer, 200'000, 800);
  CHECK(links.links()[0].latency_us == 400);
  CHECK(links.links()[0].bytes_per_s == Approx(200'000 / 80e-6));  // a tenth of its round trip at least
}

TEST_CASE("LinkMeasures: without probes and small letters a transfer takes what its round trip took") {
  LinkMeasures links;
  links.round_trip(JobFixture::node(2), 10'000, 4'000);
  CHECK(links.links() == std::vector<net::LinkSpeed>{{JobFixture::node(2), 0, 2.5e6}});
  links.round_trip(JobFixture::node(4), 10'000, 4'000);
  links.keep({{JobFixture::node(4), 1, "node-4", "h:4"}});
  CHECK(links.links().size() == 1);
  CHECK(links.links()[0].node == JobFixture::node(4));
}

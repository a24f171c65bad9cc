#include "daemon/core/averager.h"

#include <catch2/catch.hpp>

#include "tests/unit/core/job_fixture.h"

using namespace sidestep;
using daemon::Averager;
using daemon::Completion;
using test::JobFixture;

namespace {

// Completes the first queued task of kind T and takes it off.
template <class T>
T complete(JobFixture& job, Completion completion = {}) {
  for (auto it = job.queued.begin(); it != job.queued.end(); ++it) {
    if (!std::holds_alternative<T>(it->task)) continue;
    JobFixture::Queued queued = std::move(*it);
    job.queued.erase(it);
    queued.done(0, completion);
    return std::get<T>(queued.task);
  }
  FAIL("no such task is queued");
  return {};
}

Completion with(const net::Tensor& tensor) {
  Completion completion;
  completion.tensor = tensor;
  return completion;
}

net::AverageChunk chunk(const JobFixture& job, net::AveragePhase phase, std::uint32_t number,
                        const std::vector<float>& values, std::uint32_t visits) {
  return {job.context.scope(), 1, 1, phase, number, visits, JobFixture::floats(values)};
}

}  // namespace

TEST_CASE("Averager: a lone replica scales its own gradient and reports it") {
  JobFixture job(2, {{1}, {2}}, 4);
  Averager averager(job.context, 1, 3);
  averager.begin_step();
  const std::vector<net::Added> added{{0, 1, false}, {1, 1, false}, {2, 1, false}, {3, 1, false}};
  averager.on_gradient_complete(0, added);
  const auto reduce = complete<daemon::Reduce>(job);
  REQUIRE(reduce.contributions.size() == 1);
  CHECK(reduce.contributions[0].empty());  // the accumulator stays where it is
  CHECK(reduce.length == 3);
  CHECK(reduce.scale == 0.25);
  CHECK_FALSE(reduce.give);
  Completion measured;
  measured.norm = 7;
  complete<daemon::MeasureAverage>(job, measured);
  const auto reports = job.posts<net::StageReport>();
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].norm == 7);
  CHECK(reports[0].added == added);
}

TEST_CASE("Averager: replicas sum in key order, whoever arrives first") {
  JobFixture job(2, {{1}, {2, 3}}, 2);
  Averager averager(job.context, 1, 8);  // chunks of 4 elements: 0 is node 2's, 1 is node 3's
  averager.begin_step();
  averager.on_chunk(0, JobFixture::node(3), chunk(job, net::AveragePhase::reduce, 0, {1, 1, 1, 1}, 1));
  CHECK(job.queued.empty());
  averager.on_gradient_complete(0, {{0, 1, false}});
  complete<daemon::ExposeGradient>(job, with(JobFixture::floats({1, 2, 3, 4, 5, 6, 7, 8})));
  const auto sent = job.posts<net::AverageChunk>();
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].chunk == 1);
  CHECK(sent[0].tensor.payload.size() == 16);

  const auto reduce = complete<daemon::Reduce>(job, with(JobFixture::floats({1, 2, 3, 4})));
  REQUIRE(reduce.contributions.size() == 2);
  CHECK(reduce.contributions[0].empty());  // node 2's own
  CHECK(reduce.begin == 0);
  CHECK(reduce.length == 4);
  CHECK(reduce.give);
  CHECK(*reinterpret_cast<const float*>(reduce.contributions[1].payload.data()) == 1.0f);
  CHECK(reduce.scale == 0.5);
  REQUIRE(job.posts<net::AverageChunk>().size() == 2);
  CHECK(job.posts<net::AverageChunk>()[1].phase == net::AveragePhase::gather);

  // The other half comes from its owner, twice.
  for (int i = 0; i < 2; ++i)
    averager.on_chunk(0, JobFixture::node(3), chunk(job, net::AveragePhase::gather, 1, {5, 6, 7, 8}, 2));
  CHECK(complete<daemon::StoreAverage>(job).begin == 4);
  complete<daemon::MeasureAverage>(job);
  CHECK(job.queued.empty());
  CHECK(job.posts<net::StageReport>().size() == 1);
}

TEST_CASE("Averager: a repeated contribution is not added again after the chunk was reduced") {
  JobFixture job(2, {{1}, {2, 3}}, 2);
  Averager averager(job.context, 1, 8);
  averager.begin_step();
  averager.on_gradient_complete(0, {{0, 1, false}});
  complete<daemon::ExposeGradient>(job, with(JobFixture::floats({1, 2, 3, 4, 5, 6, 7, 8})));
  const auto contribution = chunk(job, net::AveragePhase::reduce, 0, {1, 1, 1, 1}, 1);
  averager.on_chunk(0, JobFixture::node(3), contribution);
  complete<daemon::Reduce>(job, with(JobFixture::floats({1, 2, 3, 4})));
  averager.on_chunk(0, JobFixture::node(3), contribution);
  CHECK(job.queued.empty());
}

TEST_CASE("Averager: gradient_scale step divides by all microbatches of the step") {
  JobFixture job(2, {{1}, {2, 3}}, 4);
  job.context.spec.gradient_scale = "step";
  job.routes()[0].hops.pop_back();  // this one skips stage 1
  Averager averager(job.context, 1, 4);
  averager.begin_step();
  averager.on_gradient_complete(0, {{2, 1, false}});
  complete<daemon::ExposeGradient>(job, with(JobFixture::floats({1, 2, 3, 4})));
  averager.on_chunk(0, JobFixture::node(3), chunk(job, net::AveragePhase::reduce, 0, {1, 1}, 2));
  CHECK(complete<daemon::Reduce>(job, with(JobFixture::floats({1, 1}))).scale == 0.25);
}

TEST_CASE("Averager: chunks that do not fit are dropped with the reason") {
  JobFixture job(2, {{1}, {2, 3}}, 2);
  Averager averager(job.context, 1, 8);
  averager.begin_step();
  const auto good = chunk(job, net::AveragePhase::reduce, 0, {1, 1, 1, 1}, 1);
  struct Case {
    std::string expected;
    net::NodeKey peer;
    net::AverageChunk chunk;
  };
  std::vector<Case> cases(5, Case{"", JobFixture::node(3), good});
  cases[0].expected = "does not hold the stage";
  cases[0].peer = JobFixture::node(1);
  cases[1].expected = "there are only 2";
  cases[1].chunk.chunk = 2;
  cases[2].expected = "for another owner";
  cases[2].chunk.chunk = 1;
  cases[3].expected = "its length is not 4";
  cases[3].chunk.tensor = JobFixture::floats({1});
  cases[4].expected = "it counts 5 microbatches, the plan 1";
  cases[4].chunk.visits = 5;
  for (const Case& c : cases) {
    job.lines.clear();
    averager.on_chunk(0, c.peer, c.chunk);
    REQUIRE(job.lines.size() == 1);
    CHECK_THAT(job.lines[0], Catch::Contains(c.expected));
  }
}

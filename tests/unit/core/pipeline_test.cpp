#include "daemon/core/pipeline.h"
#include "net/clock.h"

#include <catch2/catch.hpp>

#include "tests/unit/core/job_fixture.h"

using namespace sidestep;
using daemon::Backward;
using daemon::Forward;
using daemon::Head;
using daemon::Pipeline;
using net::Direction;
using test::JobFixture;

namespace {

using net::ms;

// Picks the next task and completes it at once with an activation.
template <class T>
T run_next(JobFixture& job, Pipeline& pipeline, std::int64_t now_us, double loss = 0) {
  auto pick = pipeline.pick(now_us);
  REQUIRE(pick);
  REQUIRE(std::holds_alternative<T>(pick->task));
  daemon::Completion completion;
  completion.tensor = job.activation();
  completion.loss = loss;
  pick->done(now_us, completion);
  pipeline.check_invariants();
  return std::get<T>(pick->task);
}

}  // namespace

TEST_CASE("Pipeline: an origin takes a microbatch all the way and closes it with its loss") {
  JobFixture job(1, {{1}, {2}}, 1);
  Pipeline pipeline(job.context);
  pipeline.begin_step(0);

  CHECK(run_next<Forward>(job, pipeline, 0).save);
  REQUIRE(job.posted.size() == 1);
  CHECK(job.posted[0].to == JobFixture::node(2));
  CHECK(job.posts<net::MicrobatchHop>()[0].hop == 1);

  pipeline.on_hop(1, JobFixture::node(2), job.arrival(0, 2, Direction::forward));
  run_next<Head>(job, pipeline, 1, 3.5);
  const auto backward = job.posts<net::MicrobatchHop>()[1];
  CHECK(backward.direction == Direction::backward);
  CHECK(backward.hop == 1);
  CHECK_FALSE(pipeline.complete(0));

  pipeline.on_hop(2, JobFixture::node(2), job.arrival(0, 0, Direction::backward));
  run_next<Backward>(job, pipeline, 2);
  CHECK(pipeline.complete(0));
  CHECK(pipeline.added(0) == std::vector<net::Added>{{0, 1, true}, {0, 1, false}});
  const auto closed = job.posts<net::MicrobatchClosed>();
  REQUIRE(closed.size() == 1);
  CHECK(closed[0].loss == 3.5);
}

TEST_CASE("Pipeline: a repeated microbatch is run once") {
  JobFixture job(2, {{1}, {2}}, 1);
  Pipeline pipeline(job.context);
  pipeline.begin_step(0);
  pipeline.on_hop(0, JobFixture::node(1), job.arrival(0, 1, Direction::forward));
  pipeline.on_hop(0, JobFixture::node(1), job.arrival(0, 1, Direction::forward));
  run_next<Forward>(job, pipeline, 0);
  CHECK_FALSE(pipeline.pick(0));
}

TEST_CASE("Pipeline: backward goes before forward, forwards by arrival") {
  JobFixture job(2, {{1}, {2}}, 3);
  Pipeline pipeline(job.context);
  pipeline.begin_step(0);
  pipeline.on_hop(0, JobFixture::node(1), job.arrival(1, 1, Direction::forward));
  run_next<Forward>(job, pipeline, 0);
  pipeline.on_hop(1, JobFixture::node(1), job.arrival(2, 1, Direction::forward));
  pipeline.on_hop(2, JobFixture::node(1), job.arrival(0, 1, Direction::forward));
  pipeline.on_hop(3, JobFixture::node(1), job.arrival(1, 1, Direction::backward));
  CHECK(run_next<Backward>(job, pipeline, 3).microbatch == 1);
  CHECK(run_next<Forward>(job, pipeline, 3).microbatch == 2);
  CHECK(run_next<Forward>(job, pipeline, 3).microbatch == 0);
}

TEST_CASE("Pipeline: a forward without a slot waits, then runs without saving") {
  JobFixture job(2, {{1}, {2}}, 2, 1);
  Pipeline pipeline(job.context);
  pipeline.begin_step(0);
  pipeline.on_hop(0, JobFixture::node(1), job.arrival(0, 1, Direction::forward));
  pipeline.on_hop(0, JobFixture::node(1), job.arrival(1, 1, Direction::forward));
  CHECK(run_next<Forward>(job, pipeline, 0).save);
  CHECK_FALSE(pipeline.pick(499 * ms));
  CHECK_FALSE(run_next<Forward>(job, pipeline, 500 * ms).save);

  // Both come back, and the slot is free again.
  pipeline.on_hop(600 * ms, JobFixture::node(1), job.arrival(1, 1, Direction::backward));
  pipeline.on_hop(600 * ms, JobFixture::node(1), job.arrival(0, 1, Direction::backward));
  run_next<Backward>(job, pipeline, 600 * ms);
  run_next<Backward>(job, pipeline, 600 * ms);
  CHECK(pipeline.complete(1));
}

TEST_CASE("Pipeline: a forward waits for a slot twice as long as planned, where that is longer") {
  JobFixture job(2, {{1}, {2}}, 2, 1);
  job.context.plan.phases.front().planned_wait_us = 4'500 * ms;
  Pipeline pipeline(job.context);
  pipeline.begin_step(0);
  pipeline.on_hop(0, JobFixture::node(1), job.arrival(0, 1, Direction::forward));
  pipeline.on_hop(0, JobFixture::node(1), job.arrival(1, 1, Direction::forward));
  CHECK(run_next<Forward>(job, pipeline, 0).save);
  CHECK_FALSE(pipeline.pick(8'999 * ms));
  CHECK_FALSE(run_next<Forward>(job, pipeline, 9'000 * ms).save);
}

TEST_CASE("Pipeline: an origin's own microbatches wait for a slot as long as it takes") {
  JobFixture job(1, {{1}, {2}}, 2, 1);
  Pipeline pipeline(job.context);
  pipeline.begin_step(0);
  run_next<Forward>(job, pipeline, 0);
  CHECK_FALSE(pipeline.pick(60'000 * ms));
}

TEST_CASE("Pipeline: a deterministic job adds in plan order whatever arrives first") {
  JobFixture job(2, {{1}, {2}}, 2);
  job.context.spec.deterministic = true;
  Pipeline pipeline(job.context);
  pipeline.begin_step(0);
  for (const std::uint32_t microbatch : {1u, 0u})
    pipeline.on_hop(0, JobFixture::node(1), job.arrival(microbatch, 1, Direction::forward));
  run_next<Forward>(job, pipeline, 0);
  run_next<Forward>(job, pipeline, 0);
  pipeline.on_hop(1, JobFixture::node(1), job.arrival(1, 1, Direction::backward));
  CHECK_FALSE(pipeline.pick(1));
  pipeline.on_hop(2, JobFixture::node(1), job.arrival(0, 1, Direction::backward));
  CHECK(run_next<Backward>(job, pipeline, 2).microbatch == 0);
  CHECK(run_next<Backward>(job, pipeline, 2).microbatch == 1);
}

TEST_CASE("Pipeline: a deterministic job with a tied embedding fixes head and backward together") {
  JobFixture job(1, {{1}}, 3, 2);
  job.context.spec.deterministic = true;
  job.context.spec.model.tie_word_embeddings = true;
  Pipeline pipeline(job.context);
  pipeline.begin_step(0);
  // With 2 slots: heads of 0 and 1, backward of 0, head of 2, the other backwards.
  run_next<Forward>(job, pipeline, 0);
  run_next<Forward>(job, pipeline, 0);
  for (const std::uint32_t microbatch : {1u, 0u})
    pipeline.on_hop(0, JobFixture::node(1), job.arrival(microbatch, 1, Direction::forward));
  CHECK(run_next<Head>(job, pipeline, 0).microbatch == 0);
  pipeline.on_hop(0, JobFixture::node(1), job.arrival(0, 0, Direction::backward));
  CHECK(run_next<Head>(job, pipeline, 0).microbatch == 1);
  pipeline.on_hop(0, JobFixture::node(1), job.arrival(1, 0, Direction::backward));
  CHECK(run_next<Backward>(job, pipeline, 0).microbatch == 0);
  run_next<Forward>(job, pipeline, 0);
  CHECK_FALSE(pipeline.pick(0));  // the backward of 1 comes after the head of 2
  pipeline.on_hop(0, JobFixture::node(1), job.arrival(2, 1, Direction::forward));
  CHECK(run_next<Head>(job, pipeline, 0).microbatch == 2);
  CHECK(run_next<Backward>(job, pipeline, 0).microbatch == 1);
}

TEST_CASE("Pipeline: a validation microbatch takes no slot and ends with its loss") {
  JobFixture job(1, {{1}, {2}}, 1, 1);
  job.context.spec.validation = {1, 1};
  job.context.step = 2;
  Pipeline pipeline(job.context);
  pipeline.begin_step(0);
  const Forward forward = run_next<Forward>(job, pipeline, 0);
  CHECK(forward.evaluation);
  CHECK_FALSE(forward.save);
  CHECK(run_next<Forward>(job, pipeline, 0).save);
  net::MicrobatchHop back = job.arrival(0, 2, Direction::forward);
  back.evaluation = true;
  pipeline.on_hop(1, JobFixture::node(2), back);
  CHECK_FALSE(run_next<Head>(job, pipeline, 1, 2.5).accumulate);
  const auto closed = job.posts<net::MicrobatchClosed>();
  REQUIRE(closed.size() == 1);
  CHECK(closed[0].evaluation);
  CHECK(closed[0].loss == 2.5);
  CHECK(pipeline.added(0).empty());
}

TEST_CASE("Pipeline: what does not fit the plan is dropped with the reason") {
  JobFixture job(2, {{1}, {2}}, 1);
  Pipeline pipeline(job.context);
  pipeline.begin_step(0);
  const net::MicrobatchHop good = job.arrival(0, 1, Direction::forward);

  struct Case {
    std::string expected;
    net::NodeKey peer;
    net::MicrobatchHop hop;
  };
  std::vector<Case> cases(6, Case{"", JobFixture::node(1), good});
  cases[0].expected = "it should come from";
  cases[0].peer = JobFixture::node(3);
  cases[1].expected = "no such microbatch";
  cases[1].hop.microbatch = 7;
  cases[2].expected = "not the planned route";
  cases[2].hop.route.pop_back();
  cases[3].expected = "its hop is at another node";
  cases[3].hop.hop = 2;
  cases[4].expected = "another shape or type";
  cases[4].hop.tensor.shape = {2, 1, 1};
  cases[5].expected = "hop 9 of a route of 2";
  cases[5].hop.hop = 9;
  for (const Case& c : cases) {
    INFO(c.expected);
    job.lines.clear();
    pipeline.on_hop(0, c.peer, c.hop);
    REQUIRE(job.lines.size() == 1);
    CHECK_THAT(job.lines[0], Catch::Contains(c.expected));
    CHECK_FALSE(pipeline.pick(0));
  }
  pipeline.on_hop(0, JobFixture::node(1), good);
  CHECK(pipeline.pick(0));
}

TEST_CASE("Pipeline: a backward whose forward has not run here is dropped with the reason") {
  JobFixture job(1, {{1}, {2}}, 1);
  Pipeline pipeline(job.context);
  pipeline.begin_step(0);
  run_next<Forward>(job, pipeline, 0);
  pipeline.on_hop(0, JobFixture::node(2), job.arrival(0, 0, Direction::backward));  // before the head
  REQUIRE(job.lines.size() == 1);
  CHECK_THAT(job.lines[0], Catch::Contains("its forward has not run here"));
  CHECK_FALSE(pipeline.pick(0));
  pipeline.on_hop(1, JobFixture::node(2), job.arrival(0, 2, Direction::forward));
  run_next<Head>(job, pipeline, 1);
  pipeline.on_hop(2, JobFixture::node(2), job.arrival(0, 0, Direction::backward));
  run_next<Backward>(job, pipeline, 2);
  CHECK(pipeline.complete(0));
}

TEST_CASE("Pipeline: a failed task ends the job with microbatch, stage and reason") {
  JobFixture job(1, {{1}, {2}}, 1);
  Pipeline pipeline(job.context);
  pipeline.begin_step(0);
  auto pick = pipeline.pick(0);
  REQUIRE(pick);
  daemon::Completion completion;
  completion.fault = "out of memory";
  pick->done(0, completion);
  REQUIRE(job.faults.size() == 1);
  CHECK(job.faults[0] == "microbatch 0, stage 0: out of memory");
}

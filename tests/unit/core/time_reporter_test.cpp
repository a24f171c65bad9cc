#include "daemon/core/time_reporter.h"

#include <catch2/catch.hpp>

#include "tests/unit/core/job_fixture.h"

using namespace sidestep;
using daemon::TimeReporter;
using test::JobFixture;

namespace {

struct Reporting : JobFixture {
  Reporting() : JobFixture(1, {{1}, {2}}, 2) { context.spec.steps = 100; }

  // A step of one task, from one Commit to the next.
  void step(std::int64_t us) {
    context.timer.begin(now_us);
    now_us += us;
    context.timer.task_ended({net::StepTaskKind::head, false, 0, 0, 2, now_us - 40, now_us - 30, now_us});
    reporter.on_commit(now_us);
    ++context.step;
  }
  template <class T>
  std::vector<T> told() const {
    std::vector<T> found;
    for (const net::Message& message : messages)
      if (const T* one = std::get_if<T>(&message)) found.push_back(*one);
    return found;
  }

  std::int64_t now_us = 1'000'000;
  std::vector<net::Message> messages;
  TimeReporter reporter{context,
                        {[this](net::Message message) { messages.push_back(std::move(message)); },
                         [] {
                           return std::vector<net::LinkSpeed>{{node(2), 500, 1e6}};
                         }}};
};

}  // namespace

TEST_CASE_METHOD(Reporting, "TimeReporter: Measured at the first step, then every three seconds at most") {
  for (int i = 0; i < 70; ++i) step(100'000);
  const auto measured = told<net::Measured>();
  REQUIRE(measured.size() == 3);
  CHECK(measured[0].scope == context.scope_of(1));
  CHECK(measured[0].head_us == 30);
  CHECK(measured[0].links == std::vector<net::LinkSpeed>{{node(2), 500, 1e6}});
  CHECK(measured[1].scope.step == 31);
  CHECK(measured[2].scope.step == 61);
  CHECK(told<net::StepTimes>().empty());  // nobody asked
}

TEST_CASE_METHOD(Reporting, "TimeReporter: the times of the steps that the scheduler wants, and no others") {
  reporter.want_times_every(8);
  for (int i = 0; i < 20; ++i) step(100'000);
  const auto times = told<net::StepTimes>();
  REQUIRE(times.size() == 2);
  CHECK(times[0].scope == context.scope_of(8));
  CHECK(times[0].tasks.size() == 1);
  CHECK(times[0].commit_us == 100'000);
  CHECK(times[1].scope.step == 16);
}

TEST_CASE_METHOD(Reporting,
                 "TimeReporter: a step begun anew, and validation after the last step, tell nothing") {
  reporter.want_times_every(1);
  context.timer.begin(now_us);
  context.timer.abandon();
  reporter.on_commit(now_us + 5);
  context.step = 101;
  step(100);
  CHECK(messages.empty());
}

#include "daemon/core/ledger.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "tests/unit/core/job_fixture.h"

using namespace sidestep;
using daemon::Ledger;
using test::JobFixture;

namespace {

net::MicrobatchClosed closed(const JobFixture& job, std::uint32_t microbatch, double loss) {
  return {job.context.scope(), microbatch, 1, false, loss, job.routes()[microbatch].hops};
}

net::StageReport report(const JobFixture& job, std::uint32_t stage,
                        const std::vector<std::uint32_t>& microbatches) {
  net::StageReport report;
  report.scope = job.context.scope();
  report.stage = stage;
  report.attempt = 1;
  report.norm = 2;
  for (const std::uint32_t microbatch : microbatches) {
    if (stage == 0) report.added.push_back({microbatch, 1, true});
    report.added.push_back({microbatch, 1, false});
  }
  return report;
}

}  // namespace

TEST_CASE("Ledger: commits when every microbatch is closed and every replica has reported") {
  JobFixture job(1, {{1}, {2, 3}}, 2);
  Ledger ledger(job.context);
  ledger.begin_step(1000);
  ledger.on_closed(0, JobFixture::node(1), closed(job, 1, 3));
  ledger.on_closed(0, JobFixture::node(1), closed(job, 0, 1));
  ledger.on_report(0, JobFixture::node(1), report(job, 0, {1, 0}));
  ledger.on_report(0, JobFixture::node(3), report(job, 1, {1}));
  CHECK_FALSE(ledger.ready());
  CHECK(ledger.describe() == "waits for stage 1 of 0200");
  ledger.on_report(0, JobFixture::node(2), report(job, 1, {0}));
  REQUIRE(ledger.ready());

  const Ledger::Page page = ledger.commit(4000);
  CHECK_FALSE(page.skip_update);
  CHECK(page.record.loss == 2.0);
  CHECK(page.record.duration_us == 3000);
  REQUIRE(page.record.routes.size() == 2);
  CHECK(page.record.routes[0].microbatch == 0);
  REQUIRE(page.record.stages.size() == 2);
  REQUIRE(page.record.stages[1].replicas.size() == 2);
  CHECK(page.record.stages[1].replicas[0].node == JobFixture::node(2));
  CHECK_FALSE(ledger.ready());
}

TEST_CASE("Ledger: a step takes from the commit before to its own, what the commit took included") {
  JobFixture job(1, {{1}}, 1);
  Ledger ledger(job.context);
  const auto whole_step = [&](std::int64_t began_us, std::int64_t committed_us) {
    ledger.begin_step(began_us);
    ledger.on_closed(began_us, JobFixture::node(1), closed(job, 0, 1));
    ledger.on_report(began_us, JobFixture::node(1), report(job, 0, {0}));
    return ledger.commit(committed_us).record.duration_us;
  };
  CHECK(whole_step(1000, 4000) == 3000);
  job.context.step = 2;
  CHECK(whole_step(4500, 6000) == 2000);
  // Another node led the step between.
  job.context.step = 4;
  CHECK(whole_step(9000, 9900) == 900);
}

TEST_CASE("Ledger: a report of another set than the routes say does not count") {
  JobFixture job(1, {{1}, {2, 3}}, 2);
  Ledger ledger(job.context);
  ledger.begin_step(0);
  ledger.on_report(0, JobFixture::node(2), report(job, 1, {0, 1}));
  REQUIRE(job.lines.size() == 1);
  CHECK_THAT(job.lines[0], Catch::Contains("another set of microbatches"));
  ledger.on_report(0, JobFixture::node(2), report(job, 1, {0}));
  CHECK(job.lines.size() == 1);
}

TEST_CASE("Ledger: a loss or gradient that is not finite skips the update and names the node") {
  JobFixture job(1, {{1}, {2}}, 1);
  Ledger ledger(job.context);
  const bool loss_bad = GENERATE(true, false);
  ledger.begin_step(0);
  ledger.on_closed(0, JobFixture::node(1), closed(job, 0, loss_bad ? std::nan("") : 1));
  ledger.on_report(0, JobFixture::node(1), report(job, 0, {0}));
  net::StageReport second = report(job, 1, {0});
  second.finite = loss_bad;
  ledger.on_report(0, JobFixture::node(2), second);
  REQUIRE(ledger.ready());
  const Ledger::Page page = ledger.commit(0);
  CHECK(page.skip_update);
  CHECK(page.record.skipped_update);
  CHECK_THAT(page.skip_reason, Catch::Contains(loss_bad ? "microbatch 0 at 0100" : "stage 1 at 0200"));
}

TEST_CASE("Ledger: step 0 waits for the weights of every replica and nothing else") {
  JobFixture job(1, {{1}, {2}}, 1);
  job.context.step = 0;
  Ledger ledger(job.context);
  ledger.begin_step(0);
  CHECK_FALSE(ledger.ready());
  for (const int node : {1, 2}) {
    net::StageReport ready = report(job, static_cast<std::uint32_t>(node - 1), {});
    ledger.on_report(0, JobFixture::node(node), ready);
  }
  REQUIRE(ledger.ready());
  const auto page = ledger.commit(0);
  CHECK_FALSE(page.record.loss);
  // The record says from its beginning who holds what: a replay starts its runners by it.
  REQUIRE(page.record.stages.size() == 2);
  CHECK(page.record.stages[1].replicas[0].node == JobFixture::node(2));
}

TEST_CASE("Ledger: the step after the last one is validation alone, and nobody is left behind in it") {
  JobFixture job(1, {{1}, {2}}, 1);
  job.context.spec.validation = {5, 1};
  job.context.step = 11;
  Ledger ledger(job.context);
  ledger.begin_step(0);
  CHECK_FALSE(ledger.ready());
  net::MicrobatchClosed end = closed(job, 0, 1.5);
  end.evaluation = true;
  ledger.on_closed(0, JobFixture::node(1), end);
  CHECK(ledger.describe() == "waits for stage 0 of 0100 and 1 more");
  ledger.on_report(0, JobFixture::node(1), report(job, 0, {}));
  ledger.on_report(0, JobFixture::node(2), report(job, 1, {}));
  REQUIRE(ledger.ready());
  CHECK(ledger.commit(0).record.validation_loss == 1.5);
}

#include "daemon/core/handover.h"

#include <catch2/catch.hpp>

#include "tests/unit/core/job_fixture.h"

using namespace sidestep;
using daemon::Handover;
using nlohmann::json;
using test::JobFixture;

namespace {

json record_of(std::uint64_t step) { return {{"record", {{"step", step}}}, {"end", ""}, {"next_epoch", 1u}}; }

net::Standing standing(const JobFixture& job, std::uint64_t next,
                       const std::vector<std::uint64_t>& records = {}) {
  net::Standing standing;
  standing.scope = job.context.scope_of(next);
  standing.records = json::array();
  for (const std::uint64_t step : records) standing.records.push_back({step, record_of(step)});
  return standing;
}

// A lead origin's: which records it reports.
struct Lead {
  explicit Lead(JobFixture& job)
      : handover(job.context, [this](std::int64_t, const json& kept) {
          reported.push_back(kept.at("record").at("step"));
        }) {}
  std::vector<std::uint64_t> reported;
  Handover handover;
};

net::Commit commit(const JobFixture& job, std::uint64_t step, bool with_record) {
  net::Commit commit;
  commit.scope = job.context.scope_of(step);
  if (with_record) commit.record = record_of(step);
  return commit;
}

}  // namespace

TEST_CASE("Handover: says where this node stands, and what may not be stored yet") {
  JobFixture job(2, {{1, 2}, {3}}, 2);
  Lead node(job);
  for (std::uint64_t step = 0; step <= 4; ++step) node.handover.keep(commit(job, step, true));
  net::Commit last = commit(job, 5, true);
  last.terms.skip_update = true;
  node.handover.keep(last);
  node.handover.forget_stored(2);
  node.handover.begin(0, 6, 3);
  const auto sent = job.posts<net::Standing>();
  REQUIRE(sent.size() == 1);
  CHECK(job.posted[0].to == JobFixture::node(1));
  CHECK(sent[0].scope.step == 6);
  CHECK(sent[0].terms.skip_update);
  CHECK(sent[0].records == json{{4, record_of(4)}, {5, record_of(5)}});
}

TEST_CASE("Handover: when all have said where they stand, the highest step begins anew") {
  JobFixture job(1, {{1, 2}, {3}}, 2);
  Lead lead(job);
  lead.handover.begin(0, 4, 1);
  lead.handover.on_standing(0, JobFixture::node(1), standing(job, 4, {2, 3}));
  CHECK(lead.handover.describe() == "waits to hear where 0200 stands");
  net::Standing ahead = standing(job, 5, {3, 4});
  ahead.terms.skip_update = true;
  lead.handover.on_standing(0, JobFixture::node(2), ahead);
  lead.handover.on_standing(0, JobFixture::node(2), ahead);  // a repeat
  CHECK(job.posts<net::Resume>().empty());
  lead.handover.on_standing(0, JobFixture::node(3), standing(job, 4));
  const auto resumes = job.posts<net::Resume>();
  REQUIRE(resumes.size() == 3);
  for (const net::Resume& resume : resumes) {
    CHECK(resume.scope.step == 5);
    CHECK(resume.terms.skip_update);
  }
  CHECK(lead.reported == std::vector<std::uint64_t>{2, 3, 4});
}

TEST_CASE("Handover: a record that nobody has ends the job instead of leaving a gap") {
  JobFixture job(1, {{1}, {3}}, 2);
  Lead lead(job);
  lead.handover.begin(0, 5, 1);
  lead.handover.on_standing(0, JobFixture::node(1), standing(job, 5, {3, 4}));
  lead.handover.on_standing(0, JobFixture::node(3), standing(job, 5));
  CHECK(job.posts<net::Resume>().empty());
  REQUIRE(job.faults.size() == 1);
  CHECK(job.faults[0] == "the record of step 2 was lost with the origins that had it");
}

TEST_CASE("Handover: records that are none are not taken") {
  JobFixture job(1, {{1}, {3}}, 2);
  Lead lead(job);
  lead.handover.begin(0, 2, 1);
  net::Standing garbage = standing(job, 2);
  garbage.records = json{{1}, {"x", 2}, {5, json::array()}, {6, {{"record", 1}}}, 7};
  lead.handover.on_standing(0, JobFixture::node(3), garbage);
  garbage.records = "no list";
  lead.handover.on_standing(0, JobFixture::node(1), garbage);
  CHECK(job.posts<net::Resume>().size() == 2);
  CHECK(lead.reported.empty());
}

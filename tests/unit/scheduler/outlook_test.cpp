#include "scheduler/outlook.h"

#include <catch2/catch.hpp>

#include "scheduler/memory.h"
#include "tests/unit/scheduler/swarm.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;
using Stages = std::vector<std::uint32_t>;

namespace {

JobSpec job(const std::string& policy) {
  nlohmann::json json = job_json(3);
  json["recovery"] = {{"policy", policy}};
  return std::move(parse_job(json, "job")).value();
}

// Nodes 1 and 2 hold stage 0, node 2 stage 1 as well, node 3 stage 2.
Plan plan() {
  Plan plan;
  plan.stages_of = {{key(1), {0}}, {key(2), {0, 1}}, {key(3), {2}}};
  return plan;
}

}  // namespace

TEST_CASE("Outlook: what a loss would do, and what being ready for it takes") {
  const JobSpec spec = job("checkfree");
  const Outlook seen = outlook(spec, plan());
  CHECK(seen.covered == Stages{0});
  CHECK(seen.rebuilt == Stages{1, 2});
  CHECK(seen.fatal.empty());
  CHECK(seen.copies_bytes == memory_need(spec, 0, 2).state());
  CHECK(seen.copies_step_bytes == 4 * stage_parameters(spec, 0));
  // Weights and both moments, out of two neighbours.
  CHECK(seen.rebuild_bytes == 2 * 3 * 4 * stage_parameters(spec, 1));
  CHECK(describe(seen) ==
        "the loss of a node of stage 0 loses nothing; stages 1, 2 would be rebuilt out of their neighbours "
        "(1 MiB "
        "to move); to be ready takes 1 MiB of memory, 1 MiB of gradients a step");
}

TEST_CASE("Outlook: without a rebuild, or a second origin, the job ends with a stage") {
  const Outlook seen = outlook(job("replica"), plan());
  CHECK(seen.fatal == Stages{1, 2});
  CHECK(seen.copies_bytes == 0);  // nobody asked for it
  CHECK(describe(seen) ==
        "the loss of a node of stage 0 loses nothing; the job ends with the last holder of stages 1, 2, "
        "which have "
        "one each");

  Plan alone = plan();
  alone.stages_of = {{key(1), {0}}};
  alone.stages_out = {1, 2};
  const Outlook late = outlook(job("checkfree"), alone);
  CHECK(late.fatal == Stages{0});
  CHECK(late.out == Stages{1, 2});
  CHECK(
      describe(late) ==
      "the job ends with the last holder of stage 0, which has one; stages 1, 2 are lost and being rebuilt");
}

TEST_CASE("Outlook: stages with mirrors are put back as of these, which takes memory and a share of a step") {
  JobSpec spec = job("mirror");
  spec.recovery.every = 10;
  Plan with = plan();
  with.mirrors = {{key(1), {1, 2}}};
  const Outlook before = outlook(spec, with);
  CHECK(before.mirrored.empty());
  CHECK(before.rebuilt == Stages{1, 2});
  const Outlook seen = outlook(spec, with, {{1, {key(1), 10}}, {2, {key(1), 10}}});
  CHECK(seen.mirrored == Stages{1, 2});
  CHECK(seen.rebuilt.empty());
  const std::uint64_t state = 3 * 4 * stage_parameters(spec, 1);
  CHECK(seen.copies_bytes == memory_need(spec, 0, 2).state() + 2 * 2 * state);
  CHECK(seen.copies_step_bytes == 4 * stage_parameters(spec, 0) + 2 * (state / 10));
  CHECK(
      describe(seen) ==
      "the loss of a node of stage 0 loses nothing; stages 1, 2 would be put back as of their last mirrors, "
      "one of every 10 commits; to be ready takes 2 MiB of memory, 1 MiB to move a step");
}

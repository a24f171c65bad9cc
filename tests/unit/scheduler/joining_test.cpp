// Nodes that come and go while a job runs, message by message.
#include <catch2/catch.hpp>

#include "tests/unit/scheduler/swarm.h"

namespace sidestep::scheduler {
namespace {

using testing::key;
using testing::Swarm;

Plan plan_in(const net::StartJob& order) { return parse_plan(order.plan).value(); }

// Nodes 1 and 2 hold stages 0 and 1; node 3 has come and said what it can do.
struct Grown : Swarm {
  Grown() : id(start_job({1, 2})) {
    for (const int number : {1, 2}) forget<net::StartJob>(number);
    join(3);
    prepared(3);
    run_for_ms(100);
  }
  template <class M>
  void forget(int number) {
    sent<M>(number);
  }
  std::string id;
};

}  // namespace

TEST_CASE(
    "Joining: a newcomer is offered a stage to learn, and the Commit that all are ready for names the plan") {
  Grown s;
  std::vector<net::StartJob> orders;
  for (const int number : {1, 2, 3}) {
    CHECK(s.sent<net::AdoptPlan>(1).empty());
    const auto got = s.taken<net::StartJob>(number);
    REQUIRE(got.size() == 1);
    CHECK(got[0].at_commit);
    orders.push_back(got[0]);
  }
  const Plan offered = plan_in(orders[0]);
  CHECK(offered.epoch == 2);
  REQUIRE(offered.learners.contains(key(3)));
  CHECK_FALSE(offered.stages_of.contains(key(3)));
  const auto adopt = s.sent<net::AdoptPlan>(1);
  REQUIRE(adopt.size() == 1);
  CHECK(adopt[0].epoch == 2);
  // Not before the Commit: the job's plan is the old one.
  CHECK(parse_plan(s.job(s.id).plan).value().epoch == 1);
  CHECK_FALSE(s.job(s.id).offered.is_null());
}

TEST_CASE("Joining: what was offered is withdrawn when the newcomer dies before everybody has it") {
  Grown s;
  s.taken<net::StartJob>(1);
  s.close(3);
  s.run_for_ms(700);
  CHECK(s.job(s.id).offered.is_null());
  CHECK(s.state(s.id) == "running");
  s.taken<net::StartJob>(2);
  CHECK(s.sent<net::AdoptPlan>(1).empty());
  // Another plan never has that number.
  CHECK(s.job(s.id).last_epoch == 2);
}

TEST_CASE("Joining: a node that cannot take part is left alone") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  s.join(3);
  net::Prepared poor{};
  poor.job = id;
  poor.problem = "wants cuda";
  s.prepared(3, poor);
  s.run_for_ms(300);
  CHECK(s.sent<net::StartJob>(3).empty());
  CHECK(s.job(id).offered.is_null());
}

TEST_CASE("Leaving: who has no part in a job may go at once") {
  Swarm s;
  s.join(1);
  s.say(1, net::Leaving{"SIGTERM", 5'000'000});
  s.run_for_ms(100);
  const auto released = s.sent<net::Released>(1);
  REQUIRE(released.size() == 1);
  CHECK_THAT(released[0].reason, Catch::Contains("SIGTERM"));
}

TEST_CASE("Leaving: who holds a stage alone stays until another has it") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  const net::Reply reply = s.ask("drain", {{"node", "n2"}});
  REQUIRE(reply.code == Code::ok);
  CHECK(reply.body.at("stages") == nlohmann::json{1});
  s.run_for_ms(200);
  CHECK(s.sent<net::Released>(2).empty());
  // Node 1 is to learn it.
  const auto orders = s.taken<net::StartJob>(1);
  REQUIRE_FALSE(orders.empty());
  CHECK(plan_in(orders.back()).learners.at(key(1)) == std::vector<std::uint32_t>{1});
  CHECK(s.ask("nodes").body.at("nodes").at(1).at("state") == "leaving");
}

TEST_CASE("Leaving: an unknown node is told as such") {
  Swarm s;
  s.join(1);
  const net::Reply reply = s.ask("drain", {{"node", "attic"}});
  CHECK(reply.code == Code::not_found);
  CHECK(reply.message == "no node \"attic\"; `sidestep nodes` lists them");
}

}  // namespace sidestep::scheduler

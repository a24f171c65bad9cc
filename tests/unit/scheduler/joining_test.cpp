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

// Node 2 leaves, node 3 has learned its stage 1, and the lead may name plan 3, by which node 3 takes it over.
struct Succeeded : Swarm {
  Succeeded() : id(start_job({1, 2})) {
    for (const int number : {1, 2}) sent<net::StartJob>(number);
    join(3);
    prepared(3);
    REQUIRE(ask("drain", {{"node", "n2"}}).code == Code::ok);
    run_for_ms(100);
    for (const int number : {1, 2, 3}) taken<net::StartJob>(number);
    commit(1, 2);
    REQUIRE(parse_plan(job(id).plan).value().learns(key(3), 1));
    for (const int number : {1, 2}) progress(number, {id, 2, 1, ""});
    progress(3, {id, 2, 1, "", 0, true});
    run_for_ms(300);
    for (const int number : {1, 2, 3}) taken<net::StartJob>(number);
    REQUIRE(job(id).offered.at("told") == true);
  }
  // By a plan that takes effect at once.
  void expect_stage_1_at_node_2() {
    CHECK(state(id) == "running");
    const auto orders = taken<net::StartJob>(2);
    REQUIRE_FALSE(orders.empty());
    CHECK_FALSE(orders[0].at_commit);
    CHECK(plan_in(orders[0]).stages(key(2)) == std::vector<std::uint32_t>{1});
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
  CHECK(s.plan_of(s.id).epoch == 1);
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

TEST_CASE("Joining: what the lead was told of is not taken back, by another run of the scheduler either") {
  Grown s;
  for (const int number : {1, 2, 3}) s.taken<net::StartJob>(number);
  REQUIRE(s.sent<net::AdoptPlan>(1).size() == 1);
  s.restart();
  for (const int number : {1, 2}) s.hello(number, net::JobProgress{s.id, 1, 1, ""});
  s.hello(3);
  s.close(3);
  s.run_for_ms(700);
  CHECK_FALSE(s.job(s.id).offered.is_null());
  // Those that are left are asked again, and the lead is told again.
  for (const int number : {1, 2}) CHECK_FALSE(s.taken<net::StartJob>(number).empty());
  CHECK(s.sent<net::AdoptPlan>(1).size() == 1);
  s.commit(1, 2);
  CHECK(s.plan_of(s.id).epoch == 2);
  CHECK(s.state(s.id) == "running");
}

TEST_CASE("Joining: who has taken over is known after the scheduler's restart") {
  Grown s;
  for (const int number : {1, 2, 3}) s.taken<net::StartJob>(number);
  const std::uint32_t learned = [&] {
    const Plan plan = parse_plan(s.job(s.id).offered.at("plan")).value();
    return plan.lessons(key(3)).front();
  }();
  s.commit(1, 2);
  for (const int number : {1, 2}) s.progress(number, {s.id, 2, 1, ""});
  s.progress(3, {s.id, 2, 1, "", 0, true});
  s.run_for_ms(300);
  for (const int number : {1, 2, 3}) CHECK(s.taken<net::StartJob>(number).size() == 1);
  s.commit(2, 3);
  REQUIRE(s.plan_of(s.id).holds(key(3), learned));
  for (const int number : {1, 2, 3}) s.progress(number, {s.id, 3, 2, ""});
  s.run_for_ms(300);
  CHECK(s.job(s.id).handing_over.at("unproven").empty());
  s.restart();
  for (const int number : {1, 2, 3}) s.hello(number, net::JobProgress{s.id, 3, 2, ""});
  // The newcomer stands in for the node that taught it.
  s.close(learned == 0 ? 1 : 2);
  s.run_for_ms(700);
  CHECK(s.state(s.id) == "running");
}

TEST_CASE("Joining: a Commit that named a plan and was not reported is known by who works under it") {
  Grown s;
  for (const int number : {1, 2, 3}) s.taken<net::StartJob>(number);
  s.commit(1, 2);
  for (const int number : {1, 2}) s.progress(number, {s.id, 2, 1, ""});
  s.progress(3, {s.id, 2, 1, "", 0, true});
  s.run_for_ms(300);
  for (const int number : {1, 2, 3}) s.taken<net::StartJob>(number);
  const Plan third = parse_plan(s.job(s.id).offered.at("plan")).value();
  REQUIRE(third.replicas(0).size() == 2);
  // The lead's Commit of step 2 names plan 3, and it dies before it reports that.
  for (const int number : {2, 3}) s.progress(number, {s.id, 3, 2, ""});
  s.run_for_ms(300);
  s.close(1);
  s.run_for_ms(700);
  CHECK(s.state(s.id) == "running");
  CHECK(s.plan_of(s.id).stages_of.contains(key(3)));
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

TEST_CASE("Leaving: a node that cannot learn what it is to take over goes on with what it holds") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  REQUIRE(s.ask("drain", {{"node", "n2"}}).code == Code::ok);
  s.run_for_ms(200);
  for (const int number : {1, 2}) s.taken<net::StartJob>(number);
  s.commit(1, 2);
  for (const int number : {1, 2}) s.progress(number, {id, 2, 1, ""});
  s.say(1, net::JobFault{{id, 1, 2, 2}, "learning stage 1: out of memory", 1});
  CHECK(s.state(id) == "running");
  s.run_for_ms(200);
  const auto orders = s.taken<net::StartJob>(1);
  REQUIRE(orders.size() == 1);
  CHECK(plan_in(orders[0]).learners.empty());
  // One that is out of date changes nothing.
  s.say(1, net::JobFault{{id, 1, 2, 2}, "learning stage 7: out of memory", 7});
  CHECK(s.state(id) == "running");
  // It is still to learn it, for there is nobody else.
  s.taken<net::StartJob>(2);
  s.commit(2, 3);
  for (const int number : {1, 2}) s.progress(number, {id, 3, 2, ""});
  s.run_for_ms(200);
  const auto again = s.taken<net::StartJob>(1);
  REQUIRE(again.size() == 1);
  CHECK(plan_in(again[0]).learns(key(1), 1));
}

TEST_CASE("Leaving: a fault that overtakes the report of the Commit that began it is not forgotten") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  REQUIRE(s.ask("drain", {{"node", "n2"}}).code == Code::ok);
  s.run_for_ms(200);
  for (const int number : {1, 2}) s.taken<net::StartJob>(number);
  s.acked(1);
  const net::Envelope fault = s.envelope(1, net::JobFault{{id, 1, 2, 2}, "learning stage 1: full", 1});
  s.deliver(key(1), fault);
  CHECK(s.acked(1).empty());
  s.commit(1, 2);
  s.acked(1);
  s.deliver(key(1), fault);
  CHECK(s.acked(1) == std::vector<std::uint64_t>{fault.id});
  for (const int number : {1, 2}) s.progress(number, {id, 2, 1, ""});
  s.run_for_ms(200);
  const auto orders = s.taken<net::StartJob>(1);
  REQUIRE(orders.size() == 1);
  CHECK(plan_in(orders[0]).learners.empty());
}

TEST_CASE("Leaving: a successor that dies before the Commit leaves the stage with its holder") {
  Succeeded s;
  s.close(3);
  s.run_for_ms(700);
  s.expect_stage_1_at_node_2();
}

TEST_CASE(
    "Leaving: a successor that fails under a plan whose Commit was not reported is no holder at a loss") {
  Succeeded s;
  s.acked(3);
  s.hold_plans = true;
  const net::Envelope fault = s.envelope(3, net::JobFault{{s.id, 1, 3, 2}, "out of memory"});
  s.progress(3, {s.id, 3, 2, ""});  // said before it failed
  s.deliver(key(3), fault);
  CHECK(s.acked(3).empty());
  s.run_for_ms(300);
  // Its repetition while a plan for the rest is made: node 2 has the stage still.
  s.close(1);
  s.run_for_ms(700);
  CHECK(s.state(s.id) == "failed");  // node 1 alone held stage 0
  CHECK_THAT(s.job(s.id).reason, Catch::Contains("stage 0 has no replica left"));
}

TEST_CASE("Leaving: a successor's death before the Commit outlives the scheduler") {
  Succeeded s;
  s.hold_plans = true;
  s.close(3);
  s.run_for_ms(700);
  REQUIRE(s.held_plans.size() == 1);
  s.restart();
  s.hold_plans = false;
  for (const int number : {1, 2}) s.hello(number, net::JobProgress{s.id, 2, 1, ""});
  s.run_for_ms(100);
  s.expect_stage_1_at_node_2();
}

TEST_CASE("Joining: a holder that lost its run while the scheduler was away is not waited for") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  s.restart();
  s.hello(1, net::JobProgress{id, 1, 0, ""});
  s.hello(2);  // the same daemon
  CHECK(s.state(id) == "failed");
  CHECK_THAT(s.job(id).reason,
             Catch::Contains("has no run of the job any more; stage 1 has no replica left"));
}

TEST_CASE("Leaving: that an operator drains a node outlives the scheduler") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  REQUIRE(s.ask("drain", {{"node", "n2"}}).code == Code::ok);
  s.restart();
  for (const int number : {1, 2}) s.hello(number, net::JobProgress{id, 1, 0, ""});
  CHECK(s.ask("nodes").body.at("nodes").at(1).at("state") == "leaving");
  // Another run of that daemon is not meant.
  s.close(2);
  s.reboot(2);
  s.hello(2);
  const nlohmann::json list = s.ask("nodes").body.at("nodes");
  REQUIRE(list.size() == 2);
  for (const auto& node : list) CHECK(node.at("state") != "leaving");
}

TEST_CASE("Kill: a node, or all that hold a stage, are told to die, and nobody else") {
  Swarm s;
  s.start_job({1, 2, 3}, 2);
  CHECK(s.ask("kill", {}).code == Code::invalid);
  CHECK(s.ask("kill", {{"node", "n1"}, {"stage", 1}}).code == Code::invalid);
  CHECK(s.ask("kill", {{"node", "attic"}}).code == Code::not_found);
  CHECK(s.ask("kill", {{"stage", 7}}).code == Code::not_found);
  for (int node = 1; node <= 3; ++node) CHECK(s.sent<net::Vanish>(node).empty());
  const net::Reply reply = s.ask("kill", {{"stage", 0}});
  REQUIRE(reply.code == Code::ok);
  std::size_t told = 0;
  for (int node = 1; node <= 3; ++node) told += s.sent<net::Vanish>(node).size();
  CHECK(told == reply.body.at("killed").size());
  CHECK(told >= 1);
  const net::Reply one = s.ask("kill", {{"node", "n3"}});
  REQUIRE(one.code == Code::ok);
  CHECK(s.sent<net::Vanish>(3).size() >= 1);
}

TEST_CASE("Leaving: an unknown node is told as such") {
  Swarm s;
  s.join(1);
  const net::Reply reply = s.ask("drain", {{"node", "attic"}});
  CHECK(reply.code == Code::not_found);
  CHECK(reply.message == "no node \"attic\"; `sidestep nodes` lists them");
}

}  // namespace sidestep::scheduler

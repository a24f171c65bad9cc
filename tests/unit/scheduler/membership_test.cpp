#include <catch2/catch.hpp>

#include "tests/unit/scheduler/swarm.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;

namespace {

std::vector<net::NodeKey> members(const net::View& view) {
  std::vector<net::NodeKey> keys;
  for (const net::Member& member : view.members) keys.push_back(member.key);
  return keys;
}

net::View stored_view(const Swarm& swarm) {
  MemoryStore copy = swarm.store;
  return copy.open_term().value().view;
}

}  // namespace

TEST_CASE("Membership: a joining node is welcomed with the view, the others get it by an update") {
  Swarm s;
  s.join(2);
  s.forget_sent();
  s.join(1);
  const auto welcome = s.sent<net::Welcome>(1);
  REQUIRE(welcome.size() == 1);
  CHECK(welcome[0].term == 1);
  CHECK(welcome[0].scheduler_boot == 77);
  CHECK(members(welcome[0].view) == std::vector{key(1), key(2)});
  const auto update = s.sent<net::ViewUpdate>(2);
  REQUIRE(update.size() == 1);
  CHECK(update[0].view == welcome[0].view);
  CHECK(stored_view(s) == welcome[0].view);
}

TEST_CASE("Membership: a Hello that comes again is welcomed again and changes nothing") {
  Swarm s;
  s.join(1);
  s.hello(1);
  const auto welcome = s.sent<net::Welcome>(1);
  REQUIRE(welcome.size() == 2);
  CHECK(welcome[0] == welcome[1]);
}

TEST_CASE("Membership: a heartbeat is answered with term, boot and view, a stranger's too") {
  Swarm s;
  s.join(1);
  s.deliver(key(1), {s.boot(1), 0, net::Heartbeat{5, {}}});
  s.deliver(key(9), {1, 0, net::Heartbeat{6, {}}});
  CHECK(s.sent<net::HeartbeatReply>(1) == std::vector{net::HeartbeatReply{5, 1, 77, 1}});
  CHECK(s.sent<net::HeartbeatReply>(9) == std::vector{net::HeartbeatReply{6, 1, 77, 1}});
}

TEST_CASE("Membership: silence counts after its limit, not before") {
  Swarm s;
  s.join(1);
  s.join(2);
  s.kill(2);
  s.run_for_ms(4'900);
  CHECK(stored_view(s).members.size() == 2);
  s.run_for_ms(200);
  CHECK(members(stored_view(s)) == std::vector{key(1)});
}

TEST_CASE("Membership: a closed connection counts sooner than silence") {
  Swarm s;
  s.join(1);
  s.close(1);
  s.run_for_ms(450);
  CHECK(stored_view(s).members.size() == 1);
  s.run_for_ms(100);
  CHECK(stored_view(s).members.empty());
}

TEST_CASE("Membership: a connection that was closed and came back is no death") {
  Swarm s;
  s.join(1);
  s.close(1);
  s.run_for_ms(300);
  s.deliver(key(1), {s.boot(1), 0, net::Heartbeat{1, {}}});
  s.run_for_ms(1'000);
  CHECK(stored_view(s).members.size() == 1);
}

TEST_CASE("Membership: Goodbye needs no waiting") {
  Swarm s;
  s.join(1);
  s.say(1, net::Goodbye{"SIGTERM"});
  CHECK(stored_view(s).members.empty());
}

TEST_CASE("Membership: a second daemon with a living one's key is refused, the first stays") {
  Swarm s;
  s.join(1);
  const net::View before = stored_view(s);
  s.forget_sent();
  s.deliver(key(1), {999, 1, net::Hello{"copy", "10.0.0.9:7001", {}, {}}});
  const auto refusal = s.sent<net::Refusal>(1);
  REQUIRE(refusal.size() == 1);
  CHECK(refusal[0].reason ==
        "another daemon with this key is running (n1, 10.0.0.1:7001); give this one its own key");
  CHECK(stored_view(s) == before);
}

TEST_CASE("Membership: a new boot after a closed connection is a death and a join") {
  Swarm s;
  s.join(1);
  s.close(1);
  s.reboot(1);
  s.join(1);
  CHECK(stored_view(s).number == 3);
  CHECK(stored_view(s).members[0].boot == s.boot(1));
}

TEST_CASE("Membership: messages of another boot are neither taken nor acknowledged") {
  Swarm s;
  s.join(1);
  s.forget_sent();
  s.deliver(key(1), {999, 40, net::LogBatch{0, {{1, net::LogLevel::info, "", {}, "ghost"}}}});
  CHECK(s.acked(1).empty());
  CHECK(s.ask("logs", {{"node", "n1"}}).body.at("lines").empty());
}

TEST_CASE("Membership: after the scheduler's restart the members of before are taken to be alive") {
  Swarm s;
  s.join(1);
  s.join(2);
  s.kill(2);
  s.restart();
  CHECK(stored_view(s).members.size() == 2);
  s.run_for_ms(4'900);
  CHECK(stored_view(s).members.size() == 2);  // 1 sends heartbeats, 2 has until the limit
  s.hello(1);
  CHECK(s.sent<net::Welcome>(1).back().term == 2);
  s.run_for_ms(200);
  CHECK(members(stored_view(s)) == std::vector{key(1)});
}

TEST_CASE("Membership: a scheduler that did not run itself blames nobody") {
  Swarm s;
  s.join(1);
  s.run_for_ms(1'000);
  s.now_us += 60'000'000;  // a suspended laptop
  s.run_for_ms(1'000);
  CHECK(stored_view(s).members.size() == 1);
}

TEST_CASE("Membership: a view update is repeated until acknowledged, and only the newest") {
  Swarm s;
  s.join(1);
  s.join(2);
  s.join(3);
  s.forget_sent();
  s.run_for_ms(600);
  const auto updates = s.sent<net::ViewUpdate>(1);
  REQUIRE(updates.size() == 1);
  CHECK(updates[0].view.members.size() == 3);
}

TEST_CASE("Scheduler: what is not for it is dropped") {
  Swarm s;
  s.join(1);
  s.say(1, net::Welcome{});
  s.say(1, net::Commit{});
  s.say(1, net::Ack{1, {12345}});
  CHECK(stored_view(s).members.size() == 1);
}

TEST_CASE("Join: an operator's key is not a node's") {
  Swarm s;
  s.join(1);
  s.join(200);
  const auto refused = s.sent<net::Refusal>(200);
  REQUIRE(refused.size() == 1);
  CHECK_THAT(refused[0].reason, Catch::Contains("this key is an operator's"));
  CHECK(s.ask("nodes").body.at("nodes").size() == 1);
}

TEST_CASE("Membership: when many join at a time the others are told of several at once, of a death at once") {
  Swarm s;
  constexpr int many = 99;
  for (int number = 1; number <= many; ++number) s.join(number);
  std::size_t told = 0;
  for (int number = 1; number <= many; ++number) {
    told += s.sent<net::ViewUpdate>(number).size();
    // Whoever is new knows those before it.
    CHECK(s.sent<net::Welcome>(number).back().view.members.size() == static_cast<std::size_t>(number));
  }
  CHECK(told == 64 * 65 / 2);  // only the first 64 were told of one at a time
  s.forget_sent();
  s.say(1, net::Heartbeat{7, {}});
  CHECK(s.sent<net::HeartbeatReply>(1).back().view < many);  // nobody is made to ask for what comes soon
  s.run_for_ms(600);
  CHECK(s.sent<net::ViewUpdate>(1).back().view.members.size() == many);
  s.forget_sent();
  s.say(5, net::Goodbye{"SIGTERM"});
  CHECK(s.sent<net::ViewUpdate>(1).back().view.members.size() == many - 1);
}

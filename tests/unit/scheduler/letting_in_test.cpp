// Who may come: admit, revoke, invites, visits.
#include <catch2/catch.hpp>
#include <set>

#include "tests/unit/scheduler/swarm.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;
using nlohmann::json;

namespace {

constexpr int stranger = 150;    // in no config
constexpr int invite_key = 160;  // of an invite
constexpr std::int64_t hour_ms = 3'600'000;

json invite_body(int number, const std::string& as = "node", std::int64_t valid_s = 3600) {
  return {{"key", key(number).hex()}, {"as", as}, {"valid_s", valid_s}};
}

void make_invite(Swarm& s, int number = invite_key, const std::string& as = "node") {
  const net::Reply reply = s.ask("invite", invite_body(number, as));
  INFO(reply.message);
  REQUIRE(reply.code == Code::ok);
}

// What the scheduler says to somebody who comes by an invite; empty: nothing.
std::string answer_to(Swarm& s, int by, const net::Message& message) {
  s.deliver(key(by), {9, 0, message});
  const auto refused = s.sent<net::Refusal>(by);
  const auto admitted = s.sent<net::Admitted>(by);
  if (!refused.empty()) return (refused.back().is_final ? "final: " : "") + refused.back().reason;
  return admitted.empty() ? "" : "admitted as " + admitted.back().role;
}

std::string join_by(Swarm& s, int by, int number) {
  return answer_to(s, by, net::Join{key(number), "n" + std::to_string(number)});
}

json entry_of(Swarm& s, int number) {
  const json admitted = s.ask("admitted").body.at("admitted");
  for (const json& entry : admitted)
    if (entry.at("key") == key(number).hex()) return entry;
  return {};
}

std::string state_of_invite(Swarm& s, int number = invite_key) {
  const json invites = s.ask("invites").body.at("invites");
  for (const json& entry : invites)
    if (entry.at("key") == key(number).hex()) return entry.at("state");
  return "";
}

bool alive(Swarm& s, int number) {
  const json nodes = s.ask("nodes").body.at("nodes");
  for (const json& node : nodes)
    if (node.at("key") == key(number).hex()) return true;
  return false;
}

}  // namespace

TEST_CASE("Letting in: at the start, the config's keys may come and nobody else") {
  Swarm s;
  CHECK(s.admitted.at(key(1)));
  CHECK(s.admitted.at(operator_key));
  CHECK_FALSE(s.admitted.contains(key(stranger)));
  s.join(stranger);
  CHECK(s.sent<net::Welcome>(stranger).empty());
  CHECK_FALSE(alive(s, stranger));
}

TEST_CASE("Admit: a node may join then, and after a restart") {
  Swarm s;
  CHECK(s.ask("admit", {{"key", key(stranger).hex()}, {"nickname", "attic"}}).code == Code::ok);
  CHECK(s.admitted.at(key(stranger)));
  s.join(stranger);
  CHECK(alive(s, stranger));
  s.restart();
  CHECK(s.admitted.at(key(stranger)));
  const json entry = entry_of(s, stranger);
  CHECK(entry.at("role") == "node");
  CHECK(entry.at("by") == "an operator (key c800)");
}

TEST_CASE("Admit: an operator may ask then, but run no daemon") {
  Swarm s;
  REQUIRE(s.ask("admit", {{"key", key(stranger).hex()}, {"as", "operator"}}).code == Code::ok);
  s.deliver(key(stranger), {5, 0, net::Request{1, "jobs", json::object()}});
  CHECK(s.sent<net::Reply>(stranger).back().code == Code::ok);
  s.join(stranger);
  CHECK_THAT(s.sent<net::Refusal>(stranger).back().reason, Catch::Contains("this key is an operator's"));
}

TEST_CASE("Admit: what is wrong is told") {
  Swarm s;
  make_invite(s);
  const auto told = [&](const json& body) { return s.ask("admit", body).message; };
  CHECK(told({{"key", "12"}}) == "admit: key \"key\": a key is 64 hexadecimal digits, this has 2 characters");
  CHECK(told({{"key", key(stranger).hex()}, {"as", "king"}}) ==
        "admit: key \"as\": value \"king\" is not known; allowed: \"node\" and \"operator\"");
  CHECK(told({{"key", key(1).hex()}, {"as", "operator"}}) ==
        "key " + key(1).hex() + " is a node's already; revoke it first, or use another key");
  CHECK(told({{"key", key(invite_key).hex()}}) ==
        "key " + key(invite_key).hex() +
            " is the scheduler's or an invite's; give the public key of a node or operator");
  CHECK(s.ask("admit", {{"key", key(1).hex()}}).code == Code::ok);  // in already
}

TEST_CASE("Revoke: a node is told, shut out, and leaves the view at once, whatever the config says") {
  Swarm s;
  s.join(1);
  s.join(2);
  s.forget_sent();
  CHECK(s.ask("revoke", {{"key", key(1).hex()}}).body.at("what") == "node");
  CHECK_FALSE(s.admitted.at(key(1)));
  CHECK_FALSE(alive(s, 1));
  const auto told = s.sent<net::Refusal>(1);
  REQUIRE(told.size() == 1);
  CHECK(told[0].is_final);
  CHECK_THAT(told[0].reason, Catch::StartsWith("key " + key(1).hex() + " was revoked by an operator on "));
  const auto views = s.sent<net::ViewUpdate>(2);
  REQUIRE(views.size() == 1);
  CHECK(views[0].view.members.size() == 1);
  // What is still under way from it, and a restart, change nothing.
  s.hello(1);
  CHECK_FALSE(alive(s, 1));
  s.restart();
  CHECK_FALSE(s.admitted.contains(key(1)));
  CHECK(entry_of(s, 1).at("revoked") == true);
  // Until it is admitted again.
  CHECK(s.ask("admit", {{"key", key(1).hex()}}).code == Code::ok);
  s.hello(1);
  CHECK(alive(s, 1));
}

TEST_CASE("Revoke: nothing goes to a key after it was shut out") {
  Swarm s;
  s.join(1);
  s.join(2);
  REQUIRE(s.ask("revoke", {{"key", key(1).hex()}}).code == Code::ok);
  s.kill(1);
  s.run_for_ms(10'000);
  CHECK(s.sends_to_strangers == 0);
}

TEST_CASE("Revoke: a job of the node ends as with its loss") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  REQUIRE(s.ask("revoke", {{"key", key(2).hex()}}).code == Code::ok);
  CHECK(s.state(id) == "failed");
  CHECK_THAT(s.job(id).reason, Catch::Contains("its key was revoked by an operator"));
}

TEST_CASE("Revoke: an operator cannot ask any more, and one always remains") {
  Swarm s;
  REQUIRE(s.ask("admit", {{"key", key(stranger).hex()}, {"as", "operator"}}).code == Code::ok);
  CHECK_THAT(s.ask("revoke", {{"key", operator_key.hex()}}).message,
             Catch::StartsWith("this is your own key"));
  REQUIRE(s.ask("revoke", {{"key", key(stranger).hex()}}).code == Code::ok);
  CHECK(s.sent<net::Refusal>(stranger).size() == 1);
  s.deliver(key(stranger), {5, 0, net::Request{1, "submit", {{"spec", job_json()}}}});
  CHECK(s.sent<net::Reply>(stranger).empty());
  CHECK(s.ask("jobs").body.at("jobs").empty());
}

TEST_CASE("Revoke: the nodes shut out whom the key brought in, at once, and nobody else") {
  Swarm s;
  const std::string id = s.start_job({1, 2, 3}, 2);
  REQUIRE(s.ask("admit", {{"key", key(stranger).hex()}, {"as", "operator"}}).code == Code::ok);
  make_invite(s);
  s.ask("export", {{"job", id}});
  s.deliver(key(stranger), {5, 0, net::Request{1, "export", {{"job", id}}}});
  s.deliver(key(stranger), {5, 0, net::Visit{key(180), "10.0.0.9:7001"}});
  s.deliver(key(invite_key), {9, 0, net::Visit{key(181), ""}});
  s.deliver(key(3), {9, 0, net::Visit{key(182), ""}});
  const auto guests = [&] {
    std::set<net::NodeKey> keys;
    const auto lists = s.sent<net::Guests>(1);
    REQUIRE_FALSE(lists.empty());
    for (const net::Guest& guest : lists.back().guests) keys.insert(guest.key);
    return keys;
  };
  using Keys = std::set<net::NodeKey>;
  CHECK(guests() == Keys{key(stranger), key(180), key(181), key(182), operator_key});
  REQUIRE(s.ask("revoke", {{"key", key(stranger).hex()}}).code == Code::ok);
  CHECK(guests() == Keys{key(181), key(182), operator_key});
  REQUIRE(s.ask("revoke", {{"key", key(invite_key).hex()}}).code == Code::ok);
  CHECK(guests() == Keys{key(182), operator_key});
  REQUIRE(s.ask("revoke", {{"key", key(3).hex()}}).code == Code::ok);
  CHECK(guests() == Keys{operator_key});
}

TEST_CASE("Revoke: a key is named by its first digits if they name one alone") {
  Swarm s;
  CHECK_THAT(s.ask("revoke", {{"key", "0100"}}).message, Catch::Matches(""));
  CHECK(s.ask("revoke", {{"key", "01"}}).message ==
        "\"01\" is no key: 64 hexadecimal digits (0-9, a-f), or at least the first 4");
  CHECK(
      s.ask("revoke", {{"key", "abcd"}}).message ==
      "no node, operator or invite has key abcd; `sidestep admit` without a key lists them, `sidestep invite "
      "--list` the invites");
  net::NodeKey twin = key(7);
  twin.bytes[31] = 1;
  REQUIRE(s.ask("admit", {{"key", twin.hex()}}).code == Code::ok);
  CHECK(s.ask("revoke", {{"key", "0700"}}).message == "2 keys begin with 0700; give more digits");
}

TEST_CASE("Invite: lets one key in, over lost answers and restarts") {
  Swarm s;
  make_invite(s);
  CHECK(s.admitted.at(key(invite_key)));
  CHECK(state_of_invite(s) == "open");
  CHECK(join_by(s, invite_key, stranger) == "admitted as node");
  CHECK(s.admitted.at(key(stranger)));
  CHECK(state_of_invite(s) == "used");
  CHECK(join_by(s, invite_key, stranger) == "admitted as node");
  s.restart();
  CHECK(s.admitted.at(key(stranger)));
  CHECK(join_by(s, invite_key, stranger) == "admitted as node");
  s.join(stranger);
  CHECK(alive(s, stranger));
  CHECK(entry_of(s, stranger).at("by") == "invite a0000000");
}

TEST_CASE("Invite: a second one who comes by it is told who used it and when") {
  SchedulerOptions options;
  options.wall_offset_us = 1'800'000'000'000'000 - 1'000'000;
  Swarm s(options);
  make_invite(s);
  REQUIRE(join_by(s, invite_key, stranger) == "admitted as node");
  const std::string reason =
      "final: this invite was used by n150 (key 9600) on 2027-01-15 08:00:00 UTC; each lets one in: ask for "
      "another";
  CHECK(join_by(s, invite_key, 151) == reason);
  s.restart();
  CHECK(join_by(s, invite_key, 151) == reason);
  CHECK_FALSE(s.admitted.contains(key(151)));
}

TEST_CASE("Invite: expires, by the wall clock and over restarts") {
  Swarm s;
  make_invite(s);
  s.now_us += (hour_ms + 1'000) * 1'000;
  s.restart();
  CHECK(state_of_invite(s) == "expired");
  CHECK_THAT(join_by(s, invite_key, stranger), Catch::StartsWith("final: this invite expired on "));
  CHECK_FALSE(s.admitted.contains(key(stranger)));
}

TEST_CASE("Invite: may be withdrawn by its first digits") {
  Swarm s;
  make_invite(s);
  CHECK(s.ask("revoke", {{"key", "a0000000"}}).body.at("what") == "invite");
  CHECK(state_of_invite(s) == "withdrawn");
  CHECK_THAT(join_by(s, invite_key, stranger), Catch::StartsWith("final: this invite was withdrawn on "));
  CHECK(s.ask("revoke", {{"key", "a0000000"}}).message ==
        "invite a0000000 is no longer open: it is withdrawn");
}

TEST_CASE("Invite: a revoked key does not come back by one") {
  Swarm s;
  make_invite(s);
  REQUIRE(join_by(s, invite_key, stranger) == "admitted as node");
  REQUIRE(s.ask("revoke", {{"key", key(stranger).hex()}}).code == Code::ok);
  CHECK_THAT(join_by(s, invite_key, stranger),
             Catch::StartsWith("final: key " + key(stranger).hex() + " was revoked on "));
  make_invite(s, 161);
  CHECK_THAT(join_by(s, 161, stranger), Catch::Contains("was revoked on "));
  CHECK(state_of_invite(s, 161) == "open");
}

TEST_CASE("Invite: who is in already does not use it up, and an operator's key does not become a node's") {
  Swarm s;
  make_invite(s);
  CHECK(join_by(s, invite_key, 1) == "admitted as node");
  CHECK(state_of_invite(s) == "open");
  CHECK_THAT(join_by(s, invite_key, 200),
             Catch::EndsWith("is an operator's already, the invite is for a node: use another key"));
  CHECK_THAT(join_by(s, invite_key, 250),
             Catch::EndsWith("is the scheduler's or an invite's: use a key of its own"));
  CHECK_THAT(join_by(s, invite_key, invite_key),
             Catch::EndsWith("is the scheduler's or an invite's: use a key of its own"));
  CHECK(state_of_invite(s) == "open");
}

TEST_CASE("Invite: a nickname that is too long is cut between two characters") {
  Swarm s;
  make_invite(s);
  std::string nickname = "x";
  for (int i = 0; i < 150; ++i) nickname += "é";
  REQUIRE(answer_to(s, invite_key, net::Join{key(stranger), nickname}) == "admitted as node");
  CHECK(entry_of(s, stranger).at("nickname") == nickname.substr(0, 199));
}

TEST_CASE("Invite: is used up also when the scheduler was killed between its two changes") {
  Swarm s;
  make_invite(s);
  const InviteRow open = s.store.open_term().value().invites.at(0);
  REQUIRE(join_by(s, invite_key, stranger) == "admitted as node");
  REQUIRE(s.store.apply(PutInvite{open}).ok());
  s.restart();
  REQUIRE(state_of_invite(s) == "open");
  CHECK(join_by(s, invite_key, stranger) == "admitted as node");
  CHECK(state_of_invite(s) == "used");
  CHECK_THAT(join_by(s, invite_key, stranger + 1), Catch::Contains("this invite was used by n150"));
}

TEST_CASE("Invite: for an operator") {
  Swarm s;
  make_invite(s, invite_key, "operator");
  CHECK(join_by(s, invite_key, stranger) == "admitted as operator");
  s.deliver(key(stranger), {5, 0, net::Request{1, "jobs", json::object()}});
  CHECK(s.sent<net::Reply>(stranger).back().code == Code::ok);
}

TEST_CASE("Invite: by its key one may join or visit, and nothing else") {
  Swarm s;
  make_invite(s, invite_key, "operator");
  CHECK(answer_to(s, invite_key, net::Hello{"x", "10.0.0.9:1", {}, {}, 0}).empty());
  CHECK(answer_to(s, invite_key, net::Heartbeat{1, {}}).empty());
  s.deliver(key(invite_key), {9, 0, net::Request{1, "jobs", json::object()}});
  CHECK(s.sent<net::Reply>(invite_key).empty());
  CHECK(s.sent<net::HeartbeatReply>(invite_key).empty());
  CHECK_FALSE(alive(s, invite_key));
}

TEST_CASE("Invite: a Join by any other key means nothing") {
  Swarm s;
  CHECK(join_by(s, 1, stranger).empty());    // admitted, but no invite
  CHECK(join_by(s, 170, stranger).empty());  // nobody
  CHECK_FALSE(s.admitted.contains(key(stranger)));
}

TEST_CASE("Invite: a request that comes again, also after a restart, makes one invite") {
  Swarm s;
  const net::Envelope request{5, 0, net::Request{700, "invite", invite_body(invite_key)}};
  s.deliver(operator_key, request);
  s.deliver(operator_key, request);
  s.restart();
  s.deliver(operator_key, request);
  CHECK(s.sent<net::Reply>(200).back().code == Code::ok);
  CHECK(s.ask("invites").body.at("invites").size() == 1);
}

TEST_CASE("Invite: says where the scheduler is advertised, and what is wrong with a request") {
  SchedulerOptions options;
  options.advertise = "192.0.2.10:7000";
  Swarm s(options);
  CHECK(s.ask("invite", invite_body(invite_key)).body.at("address") == "192.0.2.10:7000");
  CHECK(s.ask("invite", invite_body(161, "node", 0)).message ==
        "invite: key \"valid_s\": value 0 is too small, at least 1 allowed");
  CHECK_THAT(s.ask("invite", invite_body(1)).message,
             Catch::EndsWith("is known already; an invite needs a new one"));
}

TEST_CASE("Invite: ended ones are forgotten after a month, and shut out then") {
  Swarm s;
  make_invite(s);
  REQUIRE(join_by(s, invite_key, stranger) == "admitted as node");
  s.now_us += 31 * 24 * hour_ms * 1'000;
  make_invite(s, 161);
  CHECK_FALSE(s.admitted.at(key(invite_key)));
  CHECK(state_of_invite(s).empty());
  CHECK(s.admitted.at(key(stranger)));
  s.restart();
  CHECK_FALSE(s.admitted.contains(key(invite_key)));
}

// ---- visits

TEST_CASE("Visit: nodes let the visitor in for a minute, those that join meanwhile too") {
  Swarm s;
  s.join(1);
  s.deliver(key(2), {9, 0, net::Visit{key(180), "10.0.0.9:7001"}});
  const auto replies = s.sent<net::VisitReply>(2);
  REQUIRE(replies.size() == 1);
  CHECK(replies[0].role == "node");
  CHECK(replies[0].key == key(180));
  CHECK(replies[0].wall_us == s.now_us + s.options.wall_offset_us);
  CHECK(replies[0].view.members.size() == 1);
  const net::Guests wanted{1, {{key(180), "10.0.0.9:7001"}}};
  CHECK(s.sent<net::Guests>(1).back() == wanted);
  s.join(3);
  CHECK(s.sent<net::Guests>(3) == std::vector{wanted});
  s.run_for_ms(61'000);
  CHECK(s.sent<net::Guests>(1).back().guests.empty());
  CHECK(s.sent<net::Guests>(3).back().guests.empty());
}

TEST_CASE("Visit: by an open invite, which stays open, and by an ended one, which says why") {
  Swarm s;
  make_invite(s);
  s.deliver(key(invite_key), {9, 0, net::Visit{key(180), ""}});
  REQUIRE(s.sent<net::VisitReply>(invite_key).size() == 1);
  CHECK(state_of_invite(s) == "open");
  REQUIRE(join_by(s, invite_key, stranger) == "admitted as node");
  CHECK_THAT(answer_to(s, invite_key, net::Visit{key(180), ""}),
             Catch::StartsWith("final: this invite was used by "));
}

TEST_CASE("Visit: not under a key that means something already, and not by too many") {
  Swarm s;
  CHECK(answer_to(s, 2, net::Visit{key(1), ""}) == "a visit needs a key made for it");
  for (int number = 100; number < 132; ++number) CHECK(answer_to(s, 2, net::Visit{key(number), ""}).empty());
  CHECK(answer_to(s, 2, net::Visit{key(132), ""}) == "too many visits at a time; try again in a minute");
}

TEST_CASE("Visit: after the scheduler's restart nodes shut its guests out") {
  Swarm s;
  s.join(1);
  s.deliver(key(2), {9, 0, net::Visit{key(180), ""}});
  s.restart();
  s.hello(1);
  const auto guests = s.sent<net::Guests>(1);
  REQUIRE_FALSE(guests.empty());
  CHECK(guests.back().guests.empty());
}

TEST_CASE("Join: a node whose clock is an hour off is let in, and named in the log") {
  Swarm s;
  for (const auto& [number, off_s] : {std::pair{1, 3'600}, {2, -3'600}, {3, 1}})
    s.deliver(key(number), {1, 0,
                            net::Hello{"n" + std::to_string(number),
                                       "10.0.0.1:7001",
                                       {},
                                       {},
                                       s.now_us + s.options.wall_offset_us + off_s * 1'000'000LL}});
  CHECK(alive(s, 1));
  CHECK(alive(s, 2));
  std::vector<std::string> warnings;
  const json lines = s.ask("logs", {{"level", "warning"}}).body.at("lines");
  for (const json& line : lines) warnings.push_back(line.at("text"));
  REQUIRE(warnings.size() == 2);
  CHECK_THAT(warnings[0], Catch::StartsWith(
                              "node 0100 (n1, 10.0.0.1:7001): its clock is 3600 s ahead of the scheduler's"));
  CHECK_THAT(warnings[1],
             Catch::StartsWith("node 0200 (n2, 10.0.0.1:7001): its clock is 3600 s behind the scheduler's"));
}

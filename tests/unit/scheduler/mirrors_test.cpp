// Who keeps the mirror of which stage, and which mirrors a job knows of.
#include "scheduler/memory.h"
#include "tests/unit/scheduler/swarm.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;

namespace {

// Three stages at a node each, mirrors of every 10 commits, up to the first commit. `memory_bytes`: of nodes
// that have not 1 GiB.
std::string start_mirrored(Swarm& s, const std::map<int, std::uint64_t>& memory_bytes = {},
                           const std::string& policy = "mirror") {
  for (const int number : {1, 2, 3}) s.join(number);
  nlohmann::json job = job_json(3);
  job["recovery"] = {{"policy", policy}, {"every", 10}, {"origins", 1}};
  const net::Reply reply = s.ask("submit", {{"spec", job}, {"source", "job.json"}});
  INFO(reply.message);
  REQUIRE(reply.code == Code::ok);
  const std::string id = reply.body.at("job");
  for (const int number : {1, 2, 3}) {
    net::Prepared answer;
    answer.job = id;
    answer.has_data = true;
    answer.data_digest = "sha256:" + std::string(64, 'a');
    answer.layer_us = answer.head_us = 100;
    answer.memory_bytes = memory_bytes.contains(number) ? memory_bytes.at(number) : 1u << 30;
    s.prepared(number, answer);
  }
  for (const int number : {1, 2, 3}) s.progress(number, {id, 1, 0, "step 1"});
  s.commit(0);
  REQUIRE(s.state(id) == "running");
  return id;
}

void say_kept(Swarm& s, const std::string& id, int number, std::uint32_t stage, std::uint64_t commit) {
  s.say(number, net::MirrorKept{{id, 1, s.plan_of(id).epoch, commit}, stage});
}

}  // namespace

TEST_CASE(
    "Mirrors: every stage but the first has a keeper that does not hold it, each node as few as can be") {
  Swarm s;
  const std::string id = start_mirrored(s);
  const Plan plan = s.plan_of(id);
  std::set<net::NodeKey> keepers;
  for (const std::uint32_t stage : {1u, 2u}) {
    REQUIRE(plan.keeper_of(stage));
    CHECK_FALSE(plan.holds(*plan.keeper_of(stage), stage));
    keepers.insert(*plan.keeper_of(stage));
  }
  CHECK(keepers.size() == 2);
  CHECK_FALSE(plan.keeper_of(0));
  const auto outlook = [&] {
    return s.ask("status").body.at("job").at("recovery").at("outlook").get<std::string>();
  };
  CHECK(outlook().find("stages 1, 2 would be rebuilt out of their neighbours") != std::string::npos);
  for (const std::uint32_t stage : {1u, 2u}) say_kept(s, id, plan.keeper_of(stage)->bytes[0], stage, 10);
  CHECK(outlook().find("stages 1, 2 would be put back as of their last mirrors, one of every 10 commits") !=
        std::string::npos);
}

TEST_CASE("Mirrors: where nobody has the memory there are none, and people are told once") {
  std::map<int, std::uint64_t> just_enough;
  {
    Swarm s;
    start_mirrored(s, {}, "checkfree");
    const nlohmann::json listed = s.ask("nodes").body.at("nodes");
    for (const auto& node : listed)
      just_enough[net::NodeKey::from_hex(node.at("key").get<std::string>()).value().bytes[0]] =
          node.at("memory_planned_bytes").get<std::uint64_t>();
  }
  Swarm s;
  const std::string id = start_mirrored(s, just_enough);
  CHECK(s.plan_of(id).mirrors.empty());
  s.commit(1);
  std::size_t told = 0;
  const nlohmann::json lines = s.ask("logs", {{"level", "warning"}}).body.at("lines");
  for (const auto& line : lines)
    told += line.at("text").get<std::string>().find("stages 1, 2 have no mirrors") != std::string::npos;
  CHECK(told == 1);
}

TEST_CASE("Mirrors: one is known when its keeper says so, until it is lost, and others' words mean nothing") {
  Swarm s;
  const std::string id = start_mirrored(s);
  const int keeper = s.plan_of(id).keeper_of(2)->bytes[0];
  say_kept(s, id, s.holder_of(id, 2), 2, 10);  // holds the stage
  say_kept(s, id, keeper, 7, 10);              // there is no such stage
  CHECK(s.job(id).mirrors.empty());
  say_kept(s, id, keeper, 2, 10);
  CHECK(s.job(id).mirrors.at(2) == KeptMirror{key(keeper), 10});
  say_kept(s, id, keeper, 2, 20);
  CHECK(s.job(id).mirrors.at(2).commit == 20);
  s.close(keeper);
  s.run_for_ms(5'000);
  CHECK_FALSE(s.job(id).mirrors.contains(2));
}

TEST_CASE("Mirrors: a stage whose mirror is there is put back out of it, else out of its neighbours") {
  const bool mirrored = GENERATE(true, false);
  Swarm s;
  const std::string id = start_mirrored(s);
  const int holder = s.holder_of(id, 2);
  const net::NodeKey keeper = *s.plan_of(id).keeper_of(2);
  if (mirrored) say_kept(s, id, keeper.bytes[0], 2, 10);
  s.commit(1);
  s.close(holder);
  s.run_for_ms(5'000);
  const Plan plan = s.plan_of(id);
  REQUIRE(plan.is_out(2));
  CHECK(plan.mirrored == (mirrored ? std::vector{2u} : std::vector<std::uint32_t>{}));
  if (mirrored) CHECK(plan.keeper_of(2) == keeper);
}

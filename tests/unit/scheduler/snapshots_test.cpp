// Where the stages of a job's snapshot are, and who may come and read them.
#include <algorithm>

#include "tests/unit/scheduler/swarm.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;

namespace {

std::size_t guests_of(Swarm& s, int number) {
  const auto lists = s.sent<net::Guests>(number);
  REQUIRE_FALSE(lists.empty());
  return lists.back().guests.size();
}

// Three stages at one node each, rebuilt where they are lost, up to the first commit of `steps`.
std::string start_checkfree(Swarm& s, int steps) {
  for (const int number : {1, 2, 3}) s.join(number);
  nlohmann::json job = job_json(3, steps);
  job["recovery"] = {{"policy", "checkfree"}, {"origins", 1}};
  const std::string id = s.ask("submit", {{"spec", job}, {"source", "job.json"}}).body.at("job");
  for (const int number : {1, 2, 3}) s.prepared(number);
  for (const int number : {1, 2, 3}) s.progress(number, {id, 1, 0, "step 1"});
  s.commit(0);
  return id;
}

}  // namespace

TEST_CASE("Export: a running job is asked for a snapshot once, and its stages are named when all are saved") {
  Swarm s;
  const std::string id = s.start_job({1, 2, 3}, 2);  // node 3 is a replica
  s.commit(1);
  const net::Reply first = s.ask("export", {{"job", id}});
  REQUIRE(first.code == Code::ok);
  CHECK(first.body.at("ready") == false);
  CHECK(first.body.at("at_least") == 2);
  CHECK(first.body.at("waiting") == "the commit after step 1");
  const nlohmann::json again{{"job", id}, {"at_least", 2}};
  CHECK(s.ask("export", again).body.at("ready") == false);
  CHECK(s.sent<net::TakeSnapshot>(1).size() == 1);
  s.commit(2);
  s.saved(1, 2);
  CHECK(s.ask("export", again).body.at("waiting") == "nodes to save the state of commit 2");
  s.saved(2, 2);
  const nlohmann::json ready = s.ask("export", again).body;
  CHECK(ready.at("ready") == true);
  CHECK(ready.at("commit") == 2);
  CHECK(ready.at("state") == "running");
  CHECK(ready.at("spec") == s.job(id).spec);
  REQUIRE(ready.at("stages").size() == 2);
  std::size_t copies = 0;
  for (const auto& stage : ready.at("stages")) {
    CHECK(stage.at("elements") == 100);
    copies += stage.at("sources").size();
    CHECK(stage.at("sources")[0].at("address").get<std::string>().starts_with("10.0.0."));
  }
  CHECK(copies == 2);
  // A replica that was slower is one more source.
  s.saved(3, 2);
  copies = 0;
  const nlohmann::json more = s.ask("export", again).body;
  for (const auto& stage : more.at("stages")) copies += stage.at("sources").size();
  CHECK(copies == 3);
  // The next export wants a newer one.
  CHECK(s.ask("export", {{"job", id}}).body.at("at_least") == 3);
  CHECK(s.sent<net::TakeSnapshot>(1) == std::vector{net::TakeSnapshot{id, 2}});
}

TEST_CASE("Export: an ended job's last snapshot outlives the scheduler and its daemons") {
  Swarm s;
  const std::string id = s.start_job({1, 2}, 2, 3);
  s.finish();
  REQUIRE(s.state(id) == "done");
  s.restart();
  for (const int number : {1, 2}) s.hello(number);
  CHECK(s.ask("export", {{"job", id}}).body.at("commit") == 3);
  s.close(2);
  s.run_for_ms(600);
  const net::Reply away = s.ask("export", {{"job", id}});
  CHECK(away.code == Code::not_found);
  CHECK_THAT(away.message, Catch::Contains("commit 3: stage 1 was saved by n2 (0200") &&
                               Catch::Contains("nobody of them is here"));
  s.reboot(2);
  s.hello(2);
  CHECK(s.ask("export", {{"job", id}}).code == Code::ok);
}

TEST_CASE("Export: a node lost after the last commit does not take the others' last snapshot with it") {
  Swarm s;
  const std::string id = s.start_job({1, 2, 3}, 2, 1);
  const Plan plan = s.plan_of(id);
  REQUIRE(plan.stage_count() == 2);
  std::uint32_t doubled = 0;
  while (plan.replicas(doubled).size() != 2) ++doubled;
  const net::NodeKey lost = plan.replicas(doubled)[0];
  s.commit(1);
  const bool with_new_boot = GENERATE(false, true);
  s.close(lost.bytes[0]);
  if (with_new_boot) {
    s.reboot(lost.bytes[0]);
    s.hello(lost.bytes[0]);
  } else {
    s.run_for_ms(1'000);
  }
  CHECK(s.state(id) == "running");
  CHECK(s.ask("export", {{"job", id}}).body.at("ready") == false);
  for (const auto& [node, stages] : plan.stages_of) {
    if (node == lost) continue;
    CHECK(s.sent<net::EndJob>(node.bytes[0]).empty());
    s.saved(node.bytes[0], 1);
    s.applied(node.bytes[0], 1);
  }
  CHECK(s.state(id) == "done");
  CHECK(s.job(id).reason == "");
  CHECK(s.ask("export", {{"job", id}}).body.at("commit") == 1);
}

TEST_CASE("Export: a job whose nodes are all lost after the last commit ends and says what was not saved") {
  Swarm s;
  const std::string id = s.start_job({1, 2}, 2, 1);
  s.commit(1);
  for (const int number : {1, 2}) s.close(number);
  s.run_for_ms(3'000);
  CHECK(s.state(id) == "done");
  CHECK_THAT(s.job(id).reason, Catch::Contains("its last state is not saved whole"));
}

TEST_CASE("Export: between the last commit and the job's end it waits for the last state") {
  Swarm s;
  const std::string id = s.start_job({1, 2}, 2, 1);
  s.commit(1);
  const nlohmann::json first = s.ask("export", {{"job", id}}).body;
  CHECK(first.at("at_least") == 1);
  CHECK(first.at("waiting") == "nodes to save the state of commit 1");
  CHECK(s.sent<net::TakeSnapshot>(1).empty());
  for (const int number : {1, 2}) s.saved(number, 1);
  REQUIRE(s.state(id) == "running");
  CHECK(s.ask("export", {{"job", id}}).body.at("commit") == 1);
}

TEST_CASE("Export: what cannot be exported is named") {
  Swarm s;
  CHECK(s.ask("export", {{"job", "x"}}).code == Code::not_found);
  CHECK_THAT(s.ask("export").message, Catch::Contains("job"));
  s.join(1);
  s.join(2);
  const std::string id = s.submit();
  CHECK_THAT(s.ask("export", {{"job", id}}).message, Catch::Contains("has no weights yet, it is preparing"));
  for (const int number : {1, 2}) s.prepared(number);
  s.commit(0);
  s.ask("cancel", {{"job", id}});
  const net::Reply reply = s.ask("export", {{"job", id}});
  CHECK(reply.code == Code::not_found);
  CHECK_THAT(reply.message, Catch::Contains("has ended without a saved state (cancelled)"));
}

TEST_CASE("Export: a stage that no node could save is named with their reasons") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  s.ask("export", {{"job", id}});
  s.commit(1);
  s.saved(1, 1);
  s.saved(2, 1, "disk full");
  const net::Reply reply = s.ask("export", {{"job", id}, {"at_least", 1}});
  CHECK(reply.code == Code::io);
  CHECK_THAT(reply.message, Catch::Contains("stage 1: n2 (0200") && Catch::Contains("disk full"));
  // Not for ever: a later one may be saved.
  s.ask("export", {{"job", id}, {"at_least", 2}});
  s.commit(2);
  for (const int number : {1, 2}) s.saved(number, 2);
  CHECK(s.ask("export", {{"job", id}, {"at_least", 2}}).body.at("ready") == true);
}

TEST_CASE("Export: a restarted scheduler asks again for the snapshot that it waits for") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  s.ask("export", {{"job", id}});
  s.restart();
  for (const int number : {1, 2}) s.hello(number, net::JobProgress{id, 1, 0, ""});
  s.ask("export", {{"job", id}, {"at_least", 1}});
  CHECK(s.sent<net::TakeSnapshot>(1).size() == 1);
}

TEST_CASE("SnapshotTaken: repeats, older ones and stages of others count for nothing") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  const auto taken = [&](std::uint64_t step, std::uint32_t stage) {
    return net::SnapshotTaken{{id, 1, 1, step}, stage, 7, "sha256:x", ""};
  };
  s.commit(1);
  s.commit(2);
  const net::Envelope once = s.envelope(1, taken(2, 0));
  s.deliver(key(1), once);
  s.deliver(key(1), once);
  CHECK(s.acked(1).size() >= 2);
  REQUIRE(s.job(id).snapshot_coming);
  CHECK(s.job(id).snapshot_coming->copies.size() == 1);
  s.say(1, taken(2, 1));  // node 2 holds it
  s.say(1, taken(1, 0));
  net::SnapshotTaken of_another_plan = taken(2, 0);
  of_another_plan.scope.epoch = 9;
  s.say(1, of_another_plan);
  s.say(1, taken(4, 0));
  net::SnapshotTaken of_no_job = taken(2, 0);
  of_no_job.scope.job = "x";
  s.say(1, of_no_job);
  CHECK(s.job(id).snapshot_coming->copies.size() == 1);
  CHECK(s.job(id).snapshot_coming->commit == 2);
  CHECK_FALSE(s.job(id).snapshot);
}

TEST_CASE("SnapshotTaken: is stored before it is acknowledged") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  s.commit(1);
  SchedulerOutbox out;
  s.core->on_message(s.now_us, key(1), s.envelope(1, net::SnapshotTaken{{id, 1, 1, 1}, 0, 7, "sha256:x", ""}),
                     out);
  const auto place = [&](const auto& wanted) { return std::find_if(out.begin(), out.end(), wanted); };
  const auto stored = place([&](const SchedulerAction& action) {
    const auto* persist = std::get_if<Persist>(&action);
    const auto* put = persist == nullptr ? nullptr : std::get_if<PutJob>(&persist->change);
    return put != nullptr && put->row.snapshot_coming.has_value();
  });
  const auto acked = place([](const SchedulerAction& action) {
    const auto* send = std::get_if<net::Send>(&action);
    return send != nullptr && std::holds_alternative<net::Ack>(send->envelope.message);
  });
  REQUIRE(acked != out.end());
  CHECK(stored < acked);
}

TEST_CASE("Guests: an operator that exports is one on all nodes, for a while, on new ones too") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  CHECK(guests_of(s, 1) == 0);
  s.ask("export", {{"job", id}});
  const auto lists = s.sent<net::Guests>(2);
  REQUIRE_FALSE(lists.empty());
  CHECK(lists.back().guests == std::vector{net::Guest{operator_key, ""}});
  s.join(3);
  CHECK(guests_of(s, 3) == 1);
  // Each request renews it, and nothing is sent for that.
  s.forget_sent();
  s.now_us += 400'000'000;
  for (const int number : {1, 2, 3}) s.hello(number);
  s.forget_sent();
  s.ask("export", {{"job", id}});
  CHECK(s.sent<net::Guests>(1).empty());
  s.run_for_ms(300'000);
  CHECK(guests_of(s, 1) == 1);
  s.forget_sent();
  s.run_for_ms(301'000);
  CHECK(guests_of(s, 1) == 0);
}

TEST_CASE(
    "Guests: whoever asks once a minute stays one for as long as it pulls, and gets no newer snapshot") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  s.ask("export", {{"job", id}});
  s.commit(1);
  for (const int number : {1, 2}) s.saved(number, 1);
  s.forget_sent();
  for (int minute = 0; minute < 15; ++minute) {
    s.run_for_ms(60'000);
    CHECK(s.ask("export", {{"job", id}, {"at_least", 1}}).body.at("commit") == 1);
  }
  // What is not acknowledged is repeated; nothing else is sent.
  for (const net::Guests& list : s.sent<net::Guests>(1)) CHECK(list.guests.size() == 1);
  for (const net::TakeSnapshot& take : s.sent<net::TakeSnapshot>(1)) CHECK(take == net::TakeSnapshot{id, 0});
  s.run_for_ms(601'000);
  CHECK(guests_of(s, 1) == 0);
}

TEST_CASE("Guests: a key that is no operator's gets nowhere") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  s.forget_sent();
  for (const int number : {9, 150}) {  // a node's, and a stranger's
    s.deliver(key(number), {5, 0, net::Request{1, "export", {{"job", id}}}});
    CHECK(s.sent<net::Guests>(1).empty());
  }
  CHECK(s.sent<net::TakeSnapshot>(1).empty());
  s.ask("export", {{"job", id}});
  CHECK(guests_of(s, 1) == 1);
}

TEST_CASE("Export: a stage that is out at the last commit is left to whoever exports") {
  Swarm s;
  const std::string id = start_checkfree(s, 2);
  s.close(s.holder_of(id, 2));
  s.run_for_ms(700);
  const Plan plan = s.plan_of(id);
  REQUIRE(plan.stages_out == std::vector{2u});
  s.finish();
  CHECK(s.state(id) == "done");
  CHECK_THAT(s.job(id).reason, Catch::Contains("stage 2 was lost and not back at the last commit"));
  const nlohmann::json ready = s.ask("export", {{"job", id}}).body;
  CHECK(ready.at("ready") == true);
  CHECK(ready.at("stages")[2].at("sources").empty());
  CHECK_FALSE(ready.at("stages")[1].at("sources").empty());

  // One that is saved only where nobody is has to be asked for.
  const int away = plan.replicas(1).front().bytes[0];
  s.close(away);
  s.run_for_ms(700);
  CHECK_THAT(s.ask("export", {{"job", id}}).message, Catch::Contains("--rebuild"));
  const net::Reply made = s.ask("export", {{"job", id}, {"rebuild", true}});
  CHECK(made.body.at("stages")[1].at("sources").empty());
}

TEST_CASE("Export: of a stage whose holder is lost between the last commit and its save") {
  Swarm s;
  const std::string id = start_checkfree(s, 1);
  s.commit(1);
  const int lost = s.holder_of(id, 2);
  for (const std::uint32_t stage : {0u, 1u}) {
    s.applied(s.holder_of(id, stage), 1);
    s.saved(s.holder_of(id, stage), 1);
  }
  SECTION("whoever exports makes it out of its neighbours") {
    s.close(lost);
    s.run_for_ms(700);
    CHECK(s.state(id) == "done");
    CHECK_THAT(s.job(id).reason, Catch::Contains("stage 2 was lost and not back at the last commit"));
    const nlohmann::json ready = s.ask("export", {{"job", id}}).body;
    CHECK(ready.at("commit") == 1);
    CHECK(ready.at("stages")[2].at("sources").empty());
    CHECK_FALSE(ready.at("stages")[1].at("sources").empty());
  }
  SECTION("not where it said that it cannot save it: that is to be mended") {
    s.saved(lost, 1, "no space left on device");
    s.close(lost);
    s.run_for_ms(700);
    CHECK(s.state(id) == "done");
    CHECK_THAT(s.job(id).reason, Catch::Contains("its last state is not saved whole: stage 2: n") &&
                                     Catch::Contains("no space left on device"));
    CHECK(s.ask("export", {{"job", id}}).code == Code::not_found);
  }
}

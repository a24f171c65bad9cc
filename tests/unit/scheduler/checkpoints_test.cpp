// Checkpoints that a job's nodes write, and a job that goes back to one.
#include <algorithm>
#include <span>

#include "net/digest.h"
#include "scheduler/checkpoint_manifest.h"
#include "tests/unit/scheduler/swarm.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;

namespace {

const std::string digest = "sha256:" + std::string(64, 'c');

// Two stages at one node each that write checkpoints into /shared, two kept, up to its first commit.
std::string start_checkpointed(Swarm& s, const std::string& policy = "checkpoint", int steps = 100) {
  for (const int number : {1, 2}) s.join(number);
  nlohmann::json job = job_json(2, steps);
  job["recovery"] = {{"policy", policy}, {"directory", "/shared"}, {"checkpoint_every", 2}, {"origins", 1}};
  const net::Reply reply = s.ask("submit", {{"spec", job}, {"source", "job.json"}});
  INFO(reply.message);
  REQUIRE(reply.code == Code::ok);
  const std::string id = reply.body.at("job");
  for (const int number : {1, 2}) s.prepared(number);
  for (const int number : {1, 2}) s.progress(number, {id, 1, 0, "step 1"});
  s.commit(0);
  REQUIRE(s.state(id) == "running");
  return id;
}

// As s.commit(step), and its nodes write a checkpoint.
void commit_with_checkpoint(Swarm& s, const std::string& id, std::uint64_t step) {
  const Plan plan = s.plan_of(id);
  s.say(plan.lead_origin().bytes[0],
        net::CommitReport{{id, 1, plan.epoch, step}, to_json(record_step(step, plan)), "", 0, true});
}

void written(Swarm& s, const std::string& id, std::uint64_t step, std::uint32_t stage,
             const std::string& problem = "") {
  s.say(s.holder_of(id, stage),
        net::CheckpointWritten{{id, 1, s.plan_of(id).epoch, step}, stage, 100, digest, problem});
}

net::SealCheckpoint sealed(Swarm& s, const std::string& id, std::uint64_t step) {
  commit_with_checkpoint(s, id, step);
  for (const std::uint32_t stage : {0u, 1u}) written(s, id, step, stage);
  const int lead = s.holder_of(id, 0);
  const auto orders = s.sent<net::SealCheckpoint>(lead);
  REQUIRE(orders.size() == 1);
  s.say(lead, net::CheckpointSealed{id, step, orders[0].epoch, ""});
  return orders[0];
}

std::vector<std::uint64_t> checkpoints(Swarm& s, const std::string& id) {
  std::vector<std::uint64_t> commits;
  for (const SealedCheckpoint& one : s.job(id).checkpoints) commits.push_back(one.commit);
  return commits;
}

std::vector<std::uint64_t> recorded(Swarm& s, const std::string& id) {
  std::vector<std::uint64_t> steps;
  const net::Reply reply = s.ask("record", {{"job", id}});
  for (const auto& step : reply.body.at("steps")) steps.push_back(step.at("step"));
  return steps;
}

void lose(Swarm& s, int number) {
  s.close(number);
  s.run_for_ms(700);
}

net::Prepared sees_checkpoint(Swarm& s, const std::string& id, std::uint64_t commit) {
  net::Prepared answer;
  answer.init_digest = s.job(id).checkpoints.empty() ? digest : s.job(id).checkpoints.back().digest;
  answer.init_commit = commit;
  return answer;
}

// As Swarm::prepared(), where the test has looked at the question already.
void say_prepared(Swarm& s, const std::string& id, int number) {
  net::Prepared answer = sees_checkpoint(s, id, 2);
  answer.job = id;
  answer.has_data = true;
  answer.data_digest = "sha256:" + std::string(64, 'a');
  answer.layer_us = answer.head_us = 100;
  answer.memory_bytes = 1u << 30;
  s.say(number, answer);
}

}  // namespace

TEST_CASE("Checkpoint: is sealed when every stage is written, and the newest are kept") {
  Swarm s;
  const std::string id = start_checkpointed(s);
  s.commit(1);
  commit_with_checkpoint(s, id, 2);
  written(s, id, 2, 1);
  const int lead = s.holder_of(id, 0);
  CHECK(s.sent<net::SealCheckpoint>(lead).empty());
  written(s, id, 2, 0);
  const auto orders = s.sent<net::SealCheckpoint>(lead);
  REQUIRE(orders.size() == 1);
  CHECK(orders[0].commit == 2);
  CHECK(orders[0].drop.empty());
  const auto manifest = parse_checkpoint_manifest(nlohmann::json::parse(orders[0].manifest), "manifest");
  REQUIRE(manifest.ok());
  CHECK(manifest.value().job == id);
  CHECK(manifest.value().commit == 2);
  CHECK(manifest.value().spec == s.job(id).spec);
  CHECK(manifest.value().stages ==
        std::vector<CheckpointManifest::Stage>{{0, 100, digest}, {1, 100, digest}});
  CHECK(checkpoints(s, id).empty());
  s.say(lead == 1 ? 2 : 1, net::CheckpointSealed{id, 2, 1, ""});  // was not asked
  s.say(lead, net::CheckpointSealed{id, 2, 9, ""});
  CHECK(checkpoints(s, id).empty());
  s.say(lead, net::CheckpointSealed{id, 2, 1, ""});
  CHECK(s.job(id).checkpoints.at(0).digest == net::sha256(std::as_bytes(std::span(orders[0].manifest))));
  CHECK(checkpoints(s, id) == std::vector<std::uint64_t>{2});
  CHECK(s.ask("status").body.at("job").at("checkpoint") == 2);
  s.commit(3);
  CHECK(sealed(s, id, 4).drop.empty());
  s.commit(5);
  CHECK(sealed(s, id, 6).drop.empty());
  CHECK(checkpoints(s, id) == std::vector<std::uint64_t>{2, 4, 6});
  s.commit(7);
  // One goes when it is known that a newer one is there.
  CHECK(sealed(s, id, 8).drop == std::vector<std::string>{"2-1"});
  CHECK(checkpoints(s, id) == std::vector<std::uint64_t>{4, 6, 8});
}

TEST_CASE("Checkpoint: what a node could not write, or a loss, gives it up") {
  Swarm s;
  const std::string id = start_checkpointed(s, "replica");
  s.commit(1);
  commit_with_checkpoint(s, id, 2);
  const int lead = s.holder_of(id, 0);
  SECTION("a full disk") {
    written(s, id, 2, 1, "no space left on device");
    written(s, id, 2, 0);
    CHECK(s.sent<net::SealCheckpoint>(lead).empty());
  }
  SECTION("the manifest cannot be written") {
    for (const std::uint32_t stage : {0u, 1u}) written(s, id, 2, stage);
    CHECK(s.sent<net::SealCheckpoint>(lead).size() == 1);
    s.say(lead, net::CheckpointSealed{id, 2, 1, "no space left on device"});
  }
  CHECK(checkpoints(s, id).empty());
  CHECK(s.state(id) == "running");
  s.commit(3);
  CHECK(sealed(s, id, 4).drop == std::vector<std::string>{"2-1"});  // what there is of it
}

TEST_CASE("Checkpoint: one that is due while another is being written is left out, ten times at most") {
  Swarm s;
  const std::string id = start_checkpointed(s, "replica");
  s.commit(1);
  commit_with_checkpoint(s, id, 2);
  s.commit(3);
  commit_with_checkpoint(s, id, 4);
  const int lead = s.holder_of(id, 0);
  for (const std::uint32_t stage : {0u, 1u}) written(s, id, 4, stage);
  CHECK(s.sent<net::SealCheckpoint>(lead).empty());
  const bool in_time = GENERATE(true, false);
  const std::uint64_t last = in_time ? 6 : 22;
  for (std::uint64_t step = 5; step <= last; ++step)
    step % 2 == 1 ? s.commit(step) : commit_with_checkpoint(s, id, step);
  for (const std::uint32_t stage : {0u, 1u}) written(s, id, in_time ? 2 : last, stage);
  const auto orders = s.sent<net::SealCheckpoint>(lead);
  REQUIRE(orders.size() == 1);
  CHECK(orders[0].commit == (in_time ? 2u : last));
}

TEST_CASE("Checkpoint: what was written is not acknowledged before its commit is known") {
  Swarm s;
  const std::string id = start_checkpointed(s);
  s.commit(1);
  s.acked(2);
  const net::Envelope early = s.envelope(
      2, net::CheckpointWritten{{id, 1, 1, 2}, s.plan_of(id).stages(key(2)).front(), 100, digest, ""});
  s.deliver(key(2), early);
  CHECK(s.acked(2).empty());
  commit_with_checkpoint(s, id, 2);
  s.deliver(key(2), early);
  CHECK(s.acked(2) == std::vector<std::uint64_t>{early.id});
}

TEST_CASE("Going back: the whole job begins anew with the newest checkpoint, on the nodes that there are") {
  Swarm s;
  const std::string id = start_checkpointed(s);
  s.join(3);
  s.prepared(3);
  s.commit(1);
  sealed(s, id, 2);
  for (const std::uint64_t step : {3u, 4u, 5u}) s.commit(step);
  const std::uint64_t epoch = s.plan_of(id).epoch;
  const int lost = s.holder_of(id, 1), left = s.holder_of(id, 0);
  for (const int number : {1, 2, 3}) s.sent<net::PrepareJob>(number);
  lose(s, lost);
  CHECK(s.state(id) == "preparing");
  REQUIRE(s.sent<net::EndJob>(left).size() == 1);
  CHECK(s.job(id).commit == 2);
  CHECK(recorded(s, id) == std::vector<std::uint64_t>{0, 1, 2});
  CHECK(s.job(id).went_back == 1);
  for (const int number : {left, 3}) {
    const auto asked = s.sent<net::PrepareJob>(number);
    REQUIRE(asked.size() == 1);
    const auto resume = asked[0].spec.at("resume");
    CHECK_THAT(resume.at("directory").get<std::string>(), Catch::StartsWith("/shared/" + id + "-"));
    CHECK(resume.at("commit") == 2);
    CHECK(resume.at("digest") == s.job(id).checkpoints.at(0).digest);
    CHECK(asked[0].spec.at("recovery").at("directory") == resume.at("directory"));
    say_prepared(s, id, number);
  }
  REQUIRE(s.state(id) == "starting");
  CHECK(s.plan_of(id).epoch > epoch);
  const auto started = s.sent<net::StartJob>(3);
  REQUIRE_FALSE(started.empty());  // before, it was to learn a stage
  CHECK(started.back().spec.at("resume").at("commit") == 2);
  CHECK(started.back().commit == 2);
  // What comes of the run before means nothing.
  s.say(left, net::CommitReport{{id, 1, epoch, 3}, to_json(record_step(3, s.plan_of(id))), "", 0});
  s.say(left, net::JobFault{{id, 1, epoch, 6}, "late"});
  CHECK(s.state(id) == "starting");
  // Its weights are there: nothing is recorded twice.
  s.commit(2);
  CHECK(s.state(id) == "running");
  s.commit(3);
  CHECK(s.job(id).commit == 3);
  CHECK(recorded(s, id) == std::vector<std::uint64_t>{0, 1, 2, 3});
  // The user's own spec is as it was.
  CHECK(s.job(id).spec.at("resume").at("directory") == "");
  CHECK(s.job(id).spec.at("recovery").at("directory") == "/shared");
}

TEST_CASE("Going back: where the checkpoint cannot be loaded it is the one before, and then the job ends") {
  Swarm s;
  const std::string id = start_checkpointed(s);
  s.join(3);
  s.prepared(3);
  s.commit(1);
  sealed(s, id, 2);
  s.commit(3);
  sealed(s, id, 4);
  s.commit(5);
  const int left = s.holder_of(id, 0);
  lose(s, s.holder_of(id, 1));
  REQUIRE(s.job(id).commit == 4);
  const auto begin_with = [&](std::uint64_t commit) {
    for (const int number : {left, 3}) {
      REQUIRE(s.sent<net::PrepareJob>(number).back().spec.at("resume").at("commit") == commit);
      say_prepared(s, id, number);
    }
    REQUIRE(s.state(id) == "starting");
  };
  const auto fail = [&](int number) {
    s.say(number, net::JobFault{{id, 1, s.plan_of(id).epoch, 0}, "stage-0.safetensors is damaged"});
  };
  begin_with(4);
  const std::uint64_t epoch = s.plan_of(id).epoch;
  fail(left);
  REQUIRE(s.state(id) == "preparing");
  s.say(3, net::JobFault{{id, 1, epoch, 0}, "that of the other node, a little later"});
  REQUIRE(s.state(id) == "preparing");
  CHECK(s.job(id).commit == 2);
  CHECK(s.job(id).went_back == 2);
  CHECK(checkpoints(s, id) == std::vector<std::uint64_t>{2});
  CHECK(recorded(s, id) == std::vector<std::uint64_t>{0, 1, 2});
  begin_with(2);
  SECTION("that one cannot be loaded either") {
    fail(3);
    CHECK(s.state(id) == "failed");
    CHECK_THAT(s.job(id).reason, Catch::Contains("stage-0.safetensors is damaged"));
  }
  SECTION("it goes on, and the next one takes the damaged one away") {
    s.commit(2);
    s.commit(3);
    commit_with_checkpoint(s, id, 4);
    for (const std::uint32_t stage : {0u, 1u}) written(s, id, 4, stage);
    const auto orders = s.sent<net::SealCheckpoint>(s.holder_of(id, 0));
    REQUIRE_FALSE(orders.empty());
    CHECK(orders.back().epoch == s.plan_of(id).epoch);
    CHECK(orders.back().drop == std::vector<std::string>{"4-1"});
  }
}

TEST_CASE("Going back: without a checkpoint the job begins anew") {
  Swarm s;
  const std::string id = start_checkpointed(s);
  s.join(3);
  s.prepared(3);
  s.commit(1);
  lose(s, s.holder_of(id, 1));
  CHECK(s.state(id) == "preparing");
  CHECK_FALSE(s.job(id).commit);
  CHECK(recorded(s, id).empty());
  CHECK_FALSE(s.job(id).resumed);
}

TEST_CASE("Going back: a job whose nodes are all lost waits for others, also over the scheduler's restart") {
  Swarm s;
  const std::string id = start_checkpointed(s);
  s.commit(1);
  sealed(s, id, 2);
  s.commit(3);
  for (const int number : {1, 2}) s.close(number);
  s.run_for_ms(700);
  CHECK(s.state(id) == "preparing");
  CHECK_THAT(s.ask("status").body.at("waiting").get<std::string>(), Catch::Contains("nodes to go on with"));
  if (GENERATE(false, true)) s.restart();
  for (const int number : {1, 2}) {
    s.reboot(number);
    s.hello(number);
    s.run_for_ms(100);
    if (s.state(id) == "preparing") {
      const auto asked = s.sent<net::PrepareJob>(number);
      REQUIRE_FALSE(asked.empty());
      CHECK(asked.back().spec.at("resume").at("commit") == 2);
      say_prepared(s, id, number);
    }
    CHECK(s.state(id) == (number == 1 ? "preparing" : "starting"));  // one node is too few for two stages
  }
  CHECK(s.job(id).commit == 2);
}

TEST_CASE("Going back: where nobody else comes the nodes that are left hold several stages") {
  Swarm s;
  const std::string id = start_checkpointed(s);
  s.commit(1);
  sealed(s, id, 2);
  const int left = s.holder_of(id, 0), lost = s.holder_of(id, 1);
  s.sent<net::PrepareJob>(left);
  lose(s, lost);
  s.prepared(left, sees_checkpoint(s, id, 2));
  CHECK(s.state(id) == "preparing");
  s.run_for_ms(9'000);
  CHECK(s.state(id) == "preparing");
  s.run_for_ms(1'500);
  REQUIRE(s.state(id) == "starting");
  CHECK(s.plan_of(id).stages(key(left)) == std::vector<std::uint32_t>{0, 1});
}

TEST_CASE("Going back: a node that does not see the checkpoint has no part in it") {
  Swarm s;
  const std::string id = start_checkpointed(s);
  for (const int number : {3, 4}) {
    s.join(number);
    s.prepared(number);
  }
  s.commit(1);
  sealed(s, id, 2);
  const int left = s.holder_of(id, 0);
  for (const int number : {1, 2, 3, 4}) s.sent<net::PrepareJob>(number);
  lose(s, s.holder_of(id, 1));
  for (const int number : {left, 4}) s.prepared(number, sees_checkpoint(s, id, 2));
  net::Prepared other = sees_checkpoint(s, id, 2);
  other.init_digest = "sha256:" + std::string(64, 'e');
  s.prepared(3, other);
  REQUIRE(s.state(id) == "starting");
  CHECK_FALSE(s.plan_of(id).stages_of.contains(key(3)));
}

TEST_CASE("Going back: other policies do so where nothing else is left") {
  Swarm s;
  const std::string id = start_checkpointed(s, "checkfree");
  s.commit(1);
  sealed(s, id, 2);
  lose(s, s.holder_of(id, 0));  // what stage 0 holds beside its layers cannot be rebuilt
  CHECK(s.state(id) == "preparing");
  CHECK(s.job(id).commit == 2);
}

TEST_CASE(
    "Resuming: the newest checkpoint that the lowest key sees is settled, and the first step follows it") {
  Swarm s;
  for (const int number : {1, 2}) s.join(number);
  nlohmann::json job = job_json(2, 100);
  job["resume"] = {{"directory", "/shared/old-1"}};
  const std::string id = s.ask("submit", {{"spec", job}, {"source", "job.json"}}).body.at("job");
  for (const int number : {1, 2}) s.prepared(number, sees_checkpoint(s, id, 40));
  REQUIRE(s.state(id) == "starting");
  CHECK(s.job(id).spec.at("resume").at("commit") == 40);
  CHECK(s.job(id).spec.at("resume").at("digest") == sees_checkpoint(s, id, 40).init_digest);
  s.commit(40);
  CHECK(s.state(id) == "running");
  s.commit(41);
  CHECK(recorded(s, id) == std::vector<std::uint64_t>{40, 41});
  // Whoever comes now learns from the others.
  s.join(3);
  const auto asked = s.sent<net::PrepareJob>(3);
  REQUIRE(asked.size() == 1);
  CHECK_FALSE(asked[0].spec.contains("resume"));
}

TEST_CASE("Job: is done when its last checkpoint is written too, or after a while") {
  Swarm s;
  const std::string id = start_checkpointed(s, "replica", 2);
  s.commit(1);
  const Plan plan = s.plan_of(id);
  commit_with_checkpoint(s, id, 2);
  for (const int number : {1, 2}) {
    s.saved(number, 2);
    s.applied(number, 2);
  }
  CHECK(s.state(id) == "running");
  SECTION("it is written") {
    for (const std::uint32_t stage : {0u, 1u}) written(s, id, 2, stage);
    s.say(plan.lead_origin().bytes[0], net::CheckpointSealed{id, 2, 1, ""});
    CHECK(checkpoints(s, id) == std::vector<std::uint64_t>{2});
  }
  SECTION("it never is") { s.run_for_ms(600'100); }
  CHECK(s.state(id) == "done");
}

TEST_CASE("Going back: nodes that cannot see the folder for a moment are asked again") {
  Swarm s;
  const std::string id = start_checkpointed(s);
  s.join(3);
  s.prepared(3);
  s.commit(1);
  sealed(s, id, 2);
  const int left = s.holder_of(id, 0);
  for (const int number : {1, 2, 3}) s.sent<net::PrepareJob>(number);
  lose(s, s.holder_of(id, 1));
  for (const int number : {left, 3}) {
    net::Prepared blind;
    blind.problem = "/shared: there is no checkpoint in it";
    s.prepared(number, blind);
  }
  CHECK(s.state(id) == "preparing");
  s.run_for_ms(5'100);
  for (const int number : {left, 3}) s.prepared(number, sees_checkpoint(s, id, 2));
  CHECK(s.state(id) == "starting");
}

TEST_CASE("Going back: a job that began with a folder of weights does so too") {
  Swarm s;
  for (const int number : {1, 2}) s.join(number);
  nlohmann::json job = job_json(2, 100);
  job["recovery"] = {{"policy", "checkpoint"}, {"directory", "/shared"}, {"checkpoint_every", 2}};
  job["init_from"] = "weights";
  const std::string id = s.ask("submit", {{"spec", job}, {"source", "job.json"}}).body.at("job");
  net::Prepared has_weights;
  has_weights.init_digest = digest;
  for (const int number : {1, 2}) s.prepared(number, has_weights);
  s.commit(0);
  s.commit(1);
  sealed(s, id, 2);
  const int left = s.holder_of(id, 0);
  s.sent<net::PrepareJob>(left);
  lose(s, s.holder_of(id, 1));
  REQUIRE(s.state(id) == "preparing");
  const auto asked = s.sent<net::PrepareJob>(left);
  REQUIRE(asked.size() == 1);
  CHECK(asked[0].spec.at("init_from") == "");
  CHECK(asked[0].spec.at("resume").at("commit") == 2);
  CHECK(s.job(id).spec.at("init_from") == "weights");
}

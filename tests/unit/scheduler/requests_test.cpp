#include "scheduler/requests.h"

#include <catch2/catch.hpp>

#include "tests/unit/scheduler/swarm.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;
using nlohmann::json;

namespace {

net::LogBatch batch(std::uint64_t first, std::vector<std::string> texts, const std::string& job = "") {
  net::LogBatch batch{first, {}};
  for (std::string& text : texts) batch.lines.push_back({1, net::LogLevel::info, job, 1, std::move(text)});
  return batch;
}

std::vector<std::string> texts(const net::Reply& reply) {
  std::vector<std::string> found;
  for (const json& line : reply.body.at("lines")) found.push_back(line.at("text"));
  return found;
}

}  // namespace

TEST_CASE("Request: only operators may ask") {
  Swarm s;
  s.join(1);
  s.say(1, net::Request{1, "jobs", json::object()});
  const auto replies = s.sent<net::Reply>(1);
  REQUIRE(replies.size() == 1);
  CHECK(replies[0].code == Code::refused);
  CHECK(replies[0].message ==
        "key " + key(1).hex() + " is a node's; only operators may ask, with a key of their own");
}

TEST_CASE("Request: an unknown verb names the known ones") {
  Swarm s;
  const net::Reply reply = s.ask("frobnicate");
  CHECK(reply.code == Code::invalid);
  CHECK(reply.message ==
        "unknown request \"frobnicate\"; known: submit, jobs, status, times, cancel, drain, nodes, logs, "
        "record, "
        "export, admit, revoke, admitted, invite, invites");
}

TEST_CASE("Submit: a bad job is refused with every problem and the file's name") {
  Swarm s;
  json spec = job_json();
  spec["stepss"] = spec["steps"];
  spec["pipeline"]["slots"] = 0;
  const net::Reply reply = s.ask("submit", {{"spec", spec}, {"source", "a.json"}});
  CHECK(reply.code == Code::invalid);
  CHECK(reply.message ==
        "a.json: unknown key \"stepss\"; did you mean \"steps\"?\n"
        "a.json: key \"pipeline.slots\": value 0 is too small, at least 1 allowed");
  CHECK(s.ask("jobs").body.at("jobs").empty());
}

TEST_CASE("Submit: what a swarm cannot do is refused") {
  Swarm s;
  json spec = job_json();
  spec["recovery"]["policy"] = "checkpoint";
  const net::Reply reply = s.ask("submit", {{"spec", spec}, {"source", "a.json"}});
  CHECK(reply.code == Code::invalid);
  CHECK(reply.message ==
        "a.json: missing key \"recovery.directory\": policy \"checkpoint\" needs a folder that all nodes "
        "see");
  CHECK(s.ask("jobs").body.at("jobs").empty());
}

TEST_CASE("Submit: a request that comes again makes no second job") {
  Swarm s;
  const net::Envelope request{5, 0, net::Request{700, "submit", {{"spec", job_json()}}}};
  s.deliver(operator_key, request);
  s.deliver(operator_key, request);
  CHECK(s.ask("jobs").body.at("jobs").size() == 1);
  // The same number of another terminal is another request.
  s.deliver(operator_key, {6, 0, net::Request{700, "submit", {{"spec", job_json()}}}});
  CHECK(s.ask("jobs").body.at("jobs").size() == 2);
}

TEST_CASE("Status: the running job with its stages, nodes and time left") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  s.commit(1);
  const json body = s.ask("status").body;
  const json& job = body.at("job");
  CHECK(job.at("id") == id);
  CHECK(job.at("state") == "running");
  CHECK(job.at("commit") == 1);
  CHECK(job.at("steps") == 100);
  CHECK(job.at("loss") == 5.0);
  CHECK(job.at("validation_loss").is_null());
  CHECK(job.at("eta_s").get<double>() == Approx(99 * 64 / 64'000.0));
  CHECK(job.at("predicted_step_s").get<double>() > 0);
  CHECK(job.at("stages") == json{{key(1).hex()}, {key(2).hex()}});
  REQUIRE(body.at("nodes").size() == 2);
  CHECK(body.at("nodes")[1].at("nickname") == "n2");
  CHECK(body.at("nodes")[1].at("state") == "alive");
  CHECK(body.at("nodes")[1].at("stages") == json{1});
  CHECK(body.at("term") == 1);
  CHECK(body.at("waiting") == "");
}

TEST_CASE("Status: before any job there is none, and an unknown one is named with the known ones") {
  Swarm s;
  CHECK(s.ask("status").body.at("job").is_null());
  CHECK(s.ask("status", {{"job", "x"}}).message == "no job \"x\"; none has been submitted yet");
  s.submit();
  const net::Reply reply = s.ask("status", {{"job", "x"}});
  CHECK(reply.code == Code::not_found);
  CHECK(reply.message == "no job \"x\"; known: job-1");
}

TEST_CASE("Status: says whose measurements are missing") {
  Swarm s;
  s.join(1);
  s.join(2);
  s.submit();
  s.prepared(1);
  CHECK(s.ask("status").body.at("waiting") == "measurements from n2, at most 60 s more");
}

TEST_CASE("Nodes: a silent one is shown before it is dead") {
  Swarm s;
  s.join(1);
  s.kill(1);
  s.run_for_ms(2'000);
  const json node = s.ask("nodes").body.at("nodes").at(0);
  CHECK(node.at("state") == "silent");
  CHECK(node.at("silent_ms").get<int>() == 2'000);
}

TEST_CASE("Cancel: a running job ends on its nodes, a queued one is taken out, an ended one stays") {
  Swarm s;
  const std::string first = s.start_job({1, 2});
  const std::string second = s.submit();
  CHECK(s.ask("cancel", {{"job", second}}).code == Code::ok);
  CHECK(s.state(second) == "cancelled");
  CHECK(s.ask("cancel", {{"job", first}}).body.at("job") == first);
  CHECK(s.state(first) == "cancelled");
  CHECK(s.sent<net::EndJob>(2).size() == 1);
  CHECK(s.ask("cancel", {{"job", first}}).message == "job \"job-1\" has ended already (cancelled)");
}

TEST_CASE("Logs: every line once, however its batch comes") {
  Swarm s;
  s.join(1);
  s.say(1, batch(2, {"c", "d"}));
  s.say(1, batch(0, {"a", "b", "c"}));
  s.say(1, batch(0, {"a", "b", "c"}));
  CHECK(texts(s.ask("logs", {{"node", "n1"}})) == std::vector<std::string>{"c", "d", "a", "b"});
}

TEST_CASE("Logs: a batch whose Ack went down with the scheduler is kept once") {
  Swarm s;
  s.join(1);
  s.say(1, batch(0, {"a", "b"}));
  s.restart();
  s.hello(1);
  s.say(1, batch(0, {"a", "b"}));
  CHECK(texts(s.ask("logs", {{"node", "n1"}})) == std::vector<std::string>{"a", "b"});
}

TEST_CASE("Logs: read on from where the last reply ended, until the job has") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  s.say(1, batch(0, {"a", "b", "c"}, id));
  const net::Reply first = s.ask("logs", {{"job", id}, {"node", "n1"}, {"limit", 2}});
  CHECK(texts(first) == std::vector<std::string>{"a", "b"});
  CHECK(first.body.at("ended") == false);
  const net::Reply rest = s.ask("logs", {{"job", id}, {"node", "n1"}, {"after", first.body.at("next")}});
  CHECK(texts(rest) == std::vector<std::string>{"c"});
  s.finish();
  CHECK(s.ask("logs", {{"job", id}}).body.at("ended") == false);  // nodes may still ship lines
  s.run_for_ms(2'000);
  CHECK(s.ask("logs", {{"job", id}}).body.at("ended") == true);
}

TEST_CASE("Logs: the scheduler's own lines are among them") {
  Swarm s;
  s.join(1);
  const auto lines = texts(s.ask("logs", {{"node", "scheduler"}, {"tail", true}, {"limit", 1}}));
  REQUIRE(lines.size() == 1);
  CHECK(lines[0] == "node 0100 (n1, 10.0.0.1:7001) joined, cpu, 2 threads; view 1 of 1 node");
}

TEST_CASE("Logs: wrong options are told") {
  Swarm s;
  CHECK(s.ask("logs", {{"levle", "info"}}).message == "logs: unknown key \"levle\"; did you mean \"level\"?");
  CHECK(s.ask("logs", {{"level", "loud"}}).message ==
        "logs: key \"level\": value \"loud\" is not known; allowed: \"debug\", \"info\", \"warning\" and "
        "\"error\"");
}

TEST_CASE("Record: header, steps, and on from the last one") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  s.commit(1);
  s.commit(2);
  const json all = s.ask("record", {{"job", id}}).body;
  CHECK(all.at("header").at("job") == id);
  CHECK(parse_job(all.at("header").at("spec"), "header").ok());
  REQUIRE(all.at("steps").size() == 3);
  CHECK(all.at("next") == 2);
  CHECK(all.at("ended") == false);
  CHECK(s.ask("record", {{"job", id}, {"step", 1}}).body.at("steps").size() == 1);
  const json rest = s.ask("record", {{"job", id}, {"after", 1}}).body;
  REQUIRE(rest.at("steps").size() == 1);
  CHECK(parse_record_step(rest.at("steps")[0]).value().step == 2);
  s.finish();
  CHECK(s.ask("record", {{"job", id}, {"after", 3}}).body.at("ended") == true);
}

TEST_CASE("Submit: with precision \"auto\" memory is counted as the nodes' devices will have it") {
  const bool gpus = GENERATE(false, true);
  Swarm s;
  for (const int number : {1, 2}) s.join(number, gpus ? "cuda:0" : "cpu");
  nlohmann::json job = job_json();
  job["data"]["sequence_length"] = 2048;  // 1.4 GB in float32, 0.8 GB in bfloat16; they have 1.1 GB
  job["pipeline"].update({{"microbatch_size", 128}, {"slots", 1}});
  const auto submit = [&] { return s.ask("submit", {{"spec", job}, {"source", "job.json"}}); };
  const net::Reply reply = submit();
  INFO(reply.message);
  CHECK(reply.code == (gpus ? Code::ok : Code::refused));
  if (!gpus) CHECK_THAT(reply.message, Catch::Contains("the stages do not fit"));
  // One that has not come back may be anything.
  s.restart();
  s.hello(1, {}, "cpu");
  CHECK(submit().code == Code::ok);
  job["precision"] = "float32";
  job["data"]["sequence_length"] = 4096;
  s.hello(2, {}, "cuda:0");
  CHECK(submit().code == Code::refused);
}

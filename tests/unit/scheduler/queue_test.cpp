#include <catch2/catch.hpp>

#include "tests/unit/scheduler/swarm.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;

TEST_CASE("Job: goes from queued to done, and every node of it hears of the end") {
  Swarm s;
  s.join(1);
  s.join(2);
  const std::string id = s.submit();
  CHECK(id == "job-1");
  CHECK(s.state(id) == "preparing");
  s.prepared(1);
  CHECK(s.state(id) == "preparing");
  s.prepared(2);
  CHECK(s.state(id) == "starting");
  const auto start = s.sent<net::StartJob>(2);
  REQUIRE(start.size() == 1);
  CHECK(parse_plan(start[0].plan).value().stage_count() == 2);
  CHECK(start[0].view.members.size() == 2);
  CHECK(parse_job(start[0].spec, "job").value().data.digest == "sha256:" + std::string(64, 'a'));
  s.commit(0);
  CHECK(s.state(id) == "running");
  s.finish();
  CHECK(s.state(id) == "done");
  CHECK(s.job(id).commit == 100u);
  CHECK(s.job(id).loss == Approx(0.05));
  CHECK(s.job(id).tokens_per_s == Approx(64'000));
  CHECK(s.sent<net::EndJob>(1).size() == 1);
  CHECK(s.sent<net::EndJob>(2).size() == 1);
}

TEST_CASE("Queue: a job that no placement of the live nodes could hold is refused at submit") {
  Swarm s;
  s.join(1);
  nlohmann::json job = job_json(2);
  job["model"]["hidden_size"] = 1 << 15;
  const auto submit = [&] { return s.ask("submit", {{"spec", job}, {"source", "big.json"}}); };
  // One node is less than two stages: others may come.
  CHECK(submit().code == Code::ok);
  s.join(2);
  const net::Reply reply = submit();
  CHECK(reply.code == Code::refused);
  CHECK_THAT(reply.message, Catch::StartsWith("big.json: the stages do not fit: stage 0, on a node with "));
  CHECK(s.ask("jobs").body.at("jobs").size() == 1);
  // After a restart the scheduler does not know yet what they have.
  s.restart();
  CHECK(submit().code == Code::ok);
}

TEST_CASE("Job: auto precision is bfloat16 where all that can take part compute on GPUs, else float32") {
  struct Case {
    std::vector<std::string> devices;  // of nodes 1, 2, ...
    bool last_has_problem;
    const char* expected;
  };
  const Case c =
      GENERATE(Case{{"cpu", "cpu"}, false, "float32"}, Case{{"cuda:0", "cuda:1"}, false, "bfloat16"},
               Case{{"cuda:0", "cuda:1", "cpu"}, false, "float32"},
               Case{{"cuda:0", "cuda:1", "cpu"}, true, "bfloat16"});
  Swarm s;
  const int count = static_cast<int>(c.devices.size());
  for (int i = 1; i <= count; ++i) s.join(i, c.devices[static_cast<std::size_t>(i - 1)]);
  const std::string id = s.submit();
  for (int i = 1; i <= count; ++i) {
    net::Prepared answer;
    if (i == count && c.last_has_problem) answer.problem = "no room";
    s.prepared(i, answer);
  }
  const auto start = s.sent<net::StartJob>(1);
  REQUIRE(start.size() == 1);
  CHECK(parse_job(start[0].spec, "job").value().precision == c.expected);
  CHECK(s.ask("status", {{"job", id}}).body.at("job").at("precision") == c.expected);
}

TEST_CASE("Job: a precision that the job names is kept, on GPUs too") {
  JobSpec spec;
  spec.precision = "float32";
  spec.resolve_precision(true);
  CHECK(spec.precision == "float32");
  CHECK(spec.activation_dtype() == net::DType::float32);
}

TEST_CASE("Job: too few nodes end it at once, with the numbers") {
  Swarm s;
  s.join(1);
  const std::string id = s.submit(4);
  s.prepared(1);
  CHECK(s.state(id) == "failed");
  CHECK(s.job(id).reason == "4 stages need 4 nodes, 1 is alive");
}

TEST_CASE("Job: no node at all is said at once too") {
  Swarm s;
  const std::string id = s.submit();
  CHECK(s.job(id).reason == "2 stages need 2 nodes, 0 are alive");
}

TEST_CASE("Job: a node that cannot say how fast it is, is left out after the limit") {
  SchedulerOptions options;
  options.prepare_limit_us = 2'000'000;
  Swarm s(options);
  for (const int number : {1, 2, 3}) s.join(number);
  const std::string id = s.submit();
  s.prepared(1);
  s.prepared(2);
  s.run_for_ms(1'900);
  CHECK(s.state(id) == "preparing");
  s.run_for_ms(200);
  CHECK(s.state(id) == "starting");
  CHECK(s.sent<net::StartJob>(3).empty());
}

TEST_CASE("Job: a node with another file of that name does not read the data") {
  Swarm s;
  s.join(1);
  s.join(2);
  const std::string id = s.submit();
  s.prepared(1);
  const std::string other = "sha256:" + std::string(64, 'b');
  s.prepared(2, {id, "", true, "", other, 1, 1, 1u << 30, 0, ""});
  // Node 2 is the faster one, but stage 0 goes to the one with the lowest key's file.
  CHECK(s.plan_of(id).replicas(0) == std::vector{key(1)});
}

namespace {

// A job that begins with a folder, on nodes 1 to 3; what each says of the folder comes with its number.
struct InitJob {
  explicit InitJob(const std::string& digest = "") {
    for (const int number : {1, 2, 3}) s.join(number);
    nlohmann::json job = job_json();
    job["init_from"] = "models/base";
    if (!digest.empty()) job["init_from_digest"] = digest;
    id = s.ask("submit", {{"spec", job}, {"source", "job.json"}}).body.at("job");
  }
  void prepared(int number, const std::string& digest, const std::string& problem = "") {
    const std::string data = "sha256:" + std::string(64, number == 1 ? 'd' : 'e');
    s.prepared(number, {id, problem, true, "", data, 1, 1, 1u << 30, 0, digest});
  }
  JobSpec spec() const { return parse_job(s.job(id).spec, id).value(); }

  Swarm s;
  std::string id;
};

const std::string folder_a = "sha256:" + std::string(64, 'a');
const std::string folder_b = "sha256:" + std::string(64, 'b');

}  // namespace

TEST_CASE("Job: init_from is the lowest key's folder, a node with another one holds no stage") {
  InitJob job;
  job.prepared(1, folder_a);
  job.prepared(2, folder_b);
  job.prepared(3, folder_a);
  CHECK(job.s.state(job.id) == "starting");
  CHECK(job.spec().init_from_digest == folder_a);
  const Plan plan = parse_plan(job.s.job(job.id).plan).value();
  CHECK(plan.stages_of.size() == 2);
  CHECK_FALSE(plan.stages_of.contains(key(2)));
  CHECK(parse_job(job.s.sent<net::StartJob>(3).at(0).spec, "job").value().init_from_digest == folder_a);
}

TEST_CASE("Job: too few nodes with one init_from end it, with both digests and what to do") {
  InitJob job;
  job.prepared(1, folder_a);
  job.prepared(2, folder_b);
  job.prepared(3, "", "\"init_from\": models/base: is not a folder");
  CHECK(job.s.state(job.id) == "failed");
  CHECK(job.s.job(job.id).reason ==
        "2 stages need 2 nodes, 3 are alive, 1 can take part; n2 (0200): init_from models/base is another "
        "folder there: it has " +
            folder_b + ", the job's has " + folder_a +
            "; copy one folder to every node; n3 (0300): \"init_from\": models/base: is not a folder");
}

TEST_CASE("Job: the data's digest is that of a node with the job's init_from") {
  InitJob job(folder_b);
  job.prepared(1, folder_a);  // its data would be taken, were its folder the job's
  job.prepared(2, folder_b);
  job.prepared(3, folder_b);
  CHECK(job.s.state(job.id) == "starting");
  CHECK(job.spec().init_from_digest == folder_b);
  CHECK(job.spec().data.digest == "sha256:" + std::string(64, 'e'));
}

TEST_CASE("Job: a digest of init_from that is none is not taken, nor an answer without one") {
  InitJob job;
  job.prepared(1, "sha256:zz");
  job.prepared(2, folder_b);
  job.prepared(3, "");
  CHECK(job.spec().init_from_digest == folder_b);
  CHECK_THAT(job.s.job(job.id).reason,
             Catch::Contains("n1 (0100): init_from models/base is another folder") &&
                 Catch::Contains("it has no digest"));
}

TEST_CASE("Job: one at a time, in order of submission") {
  Swarm s;
  const std::string first = s.start_job({1, 2});
  const std::string second = s.submit();
  const std::string third = s.submit();
  CHECK(s.state(second) == "queued");
  s.finish();
  CHECK(s.state(second) == "preparing");
  CHECK(s.state(third) == "queued");
}

TEST_CASE("Job: the next one waits until every node has dropped the one before") {
  Swarm s;
  s.acks_end_job = false;
  s.start_job({1, 2});
  const std::string second = s.submit();
  s.finish();
  CHECK(s.state(second) == "queued");
  CHECK(s.ask("status").body.at("waiting") == "nodes that still drop the job before: n1, n2");
  s.kill(2);
  s.acks_end_job = true;
  s.run_for_ms(6'000);  // repeats reach 1, and 2 is declared dead
  CHECK(s.state(second) == "preparing");
}

TEST_CASE("Job: a lost node ends it with who, how long, which stage and the last commit") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  for (std::uint64_t step = 1; step <= 3; ++step) s.commit(step);
  s.kill(2);
  s.run_for_ms(5'200);
  CHECK(s.state(id) == "failed");
  CHECK_THAT(s.job(id).reason,
             Catch::Matches(
                 "node 0200 \\(n2, 10.0.0.2:7001\\): silent for 5[0-9]{3} ms, limit 5000 ms; stage 1 has no "
                 "replica left; last commit: step 3"));
  CHECK(s.sent<net::EndJob>(1).size() == 1);
}

TEST_CASE("Job: a lost replica is planned around, a lost stage ends it") {
  Swarm s;
  const std::string id = s.start_job({1, 2, 3});
  const bool has_other = s.plan_of(id).replicas(0).size() == 2;
  REQUIRE(has_other);  // the head makes stage 0 the one with two replicas: nodes 1 and 3
  s.close(3);
  s.run_for_ms(600);
  CHECK(s.state(id) == "running");
  const Plan rest = s.plan_of(id);
  CHECK(rest.epoch == 2);
  CHECK(rest.replicas(0) == std::vector{key(1)});
  CHECK(s.job(id).view.members.size() == 2);
  for (const int number : {1, 2}) {
    const net::StartJob start = s.sent<net::StartJob>(number).back();
    CHECK(parse_plan(start.plan).value() == rest);
    CHECK(start.commit == 0);
  }
  s.commit(1);
  s.close(1);
  s.run_for_ms(600);
  CHECK(s.state(id) == "failed");
  CHECK_THAT(s.job(id).reason, Catch::Contains("stage 0 has no replica left; last commit: step 1"));
}

TEST_CASE("Job: a node that was lost while the others were planned for is not in that plan") {
  Swarm s;
  const std::string id = s.start_job({1, 2, 3, 4});
  s.hold_plans = true;
  s.close(4);
  s.run_for_ms(600);
  REQUIRE(s.held_plans.size() == 1);
  s.hold_plans = false;
  s.close(3);
  s.run_for_ms(600);
  SchedulerOutbox out;
  s.core->on_plan(s.now_us, s.held_plans[0].id, place(s.held_plans[0].request), out);  // too late
  CHECK(out.empty());
  CHECK(s.state(id) == "running");
  CHECK(s.plan_of(id).stages_of.size() == 2);
}

TEST_CASE("Scheduler's restart: who missed the plan of the rest gets it again") {
  Swarm s;
  const std::string id = s.start_job({1, 2, 3});
  s.close(3);
  s.run_for_ms(600);
  s.restart();
  s.hello(1, net::JobProgress{id, 1, 0, ""});
  s.hello(2, net::JobProgress{id, 2, 0, ""});
  CHECK(s.sent<net::StartJob>(2).empty());
  const auto starts = s.sent<net::StartJob>(1);
  REQUIRE(starts.size() == 1);
  CHECK(starts[0].plan.at("epoch") == 2);
}

TEST_CASE("Job: a node outside of its plan may go") {
  Swarm s;
  for (const int number : {1, 2}) s.join(number);
  const std::string id = s.submit();
  for (const int number : {1, 2}) s.prepared(number);
  s.commit(0);
  s.join(3);
  s.say(3, net::Goodbye{"SIGTERM"});
  CHECK(s.state(id) == "running");
}

TEST_CASE("Job: a fault names the node, the reason and the step") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  s.say(2, net::JobFault{{id, 1, 1, 4}, "out of memory"});
  CHECK(s.job(id).reason == "node 0200 (n2, 10.0.0.2:7001): out of memory (step 4)");
  CHECK(s.sent<net::EndJob>(1).size() == 1);
  CHECK(s.sent<net::EndJob>(2).size() == 1);
}

TEST_CASE("Job: a death while the plan is made makes a new plan without that node") {
  Swarm s;
  for (const int number : {1, 2, 3}) s.join(number);
  s.hold_plans = true;
  const std::string id = s.submit();
  for (const int number : {1, 2, 3}) s.prepared(number);
  REQUIRE(s.held_plans.size() == 1);
  CHECK(s.ask("status").body.at("waiting") == "the plan");
  s.hold_plans = false;
  s.say(1, net::Goodbye{"SIGTERM"});
  CHECK(s.state(id) == "starting");
  SchedulerOutbox out;
  s.core->on_plan(s.now_us, s.held_plans[0].id, place(s.held_plans[0].request), out);  // too late
  CHECK(out.empty());
  CHECK_FALSE(s.plan_of(id).stages_of.contains(key(1)));
}

TEST_CASE("Job: a node that joins while others are measured is asked too") {
  Swarm s;
  for (const int number : {1, 2}) s.join(number);
  const std::string id = s.submit(3);
  s.prepared(1);
  s.join(3);
  s.prepared(2);
  CHECK(s.state(id) == "preparing");
  s.prepared(3);
  CHECK(s.state(id) == "starting");
}

TEST_CASE("Job: a node that comes back with a job that has ended drops it") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  s.close(2);
  s.run_for_ms(600);
  REQUIRE(s.state(id) == "failed");
  s.forget_sent();
  s.hello(2, net::JobProgress{id, 1, 3, ""});
  REQUIRE(s.sent<net::EndJob>(2).size() == 1);
  s.hello(1, net::JobProgress{"unheard-of", 1, 3, ""});
  CHECK(s.sent<net::EndJob>(1).back().reason == "this scheduler does not know the job");
}

TEST_CASE("Scheduler's restart: a running job goes on and can end well") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  s.commit(1);
  s.restart();
  CHECK(s.state(id) == "running");
  for (const int number : {1, 2}) s.hello(number, net::JobProgress{id, 1, 1, ""});
  CHECK(s.sent<net::EndJob>(1).empty());
  CHECK(s.sent<net::StartJob>(1).empty());
  s.finish();
  CHECK(s.state(id) == "done");
}

TEST_CASE("Scheduler's restart: a node that missed the start gets it again") {
  Swarm s;
  for (const int number : {1, 2}) s.join(number);
  const std::string id = s.submit();
  for (const int number : {1, 2}) s.prepared(number);
  s.restart();
  s.hello(1, net::JobProgress{id, 1, 0, ""});
  s.hello(2);
  CHECK(s.sent<net::StartJob>(1).empty());
  CHECK(s.sent<net::StartJob>(2).size() == 1);
}

TEST_CASE("Scheduler's restart: a job that was preparing asks everybody again, once all are back") {
  Swarm s;
  for (const int number : {1, 2}) s.join(number);
  const std::string id = s.submit();
  s.restart();
  CHECK(s.state(id) == "queued");
  s.hello(1);
  CHECK(s.state(id) == "queued");
  CHECK(s.ask("status").body.at("waiting") ==
        "nodes that have not come back since the scheduler's restart: n2");
  s.hello(2);
  CHECK(s.state(id) == "preparing");
}

TEST_CASE("Scheduler's restart: a node that rebooted meanwhile ends its job") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  s.restart();
  s.reboot(2);
  s.hello(2);
  CHECK(s.state(id) == "failed");
  CHECK(s.job(id).reason ==
        "node 0200 (n2, 10.0.0.2:7001): started anew; stage 1 has no replica left; last commit: step 0");
}

TEST_CASE("Commit: a report is stored before it is acknowledged, and once") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  const Plan plan = s.plan_of(id);
  s.acked(1);
  const net::Envelope report = s.envelope(1, net::CommitReport{{id, 1, 1, 1}, to_json(record_step(1, plan))});
  SchedulerOutbox out;
  s.core->on_message(s.now_us, key(1), report, out);
  const auto place_of = [&](const auto& wanted) {
    return std::find_if(out.begin(), out.end(), wanted) - out.begin();
  };
  const auto stored = place_of([](const SchedulerAction& action) {
    const auto* persist = std::get_if<Persist>(&action);
    return persist != nullptr && std::holds_alternative<AppendRecord>(persist->change);
  });
  const auto acknowledged = place_of([](const SchedulerAction& action) {
    const auto* send = std::get_if<net::Send>(&action);
    return send != nullptr && std::holds_alternative<net::Ack>(send->envelope.message);
  });
  CHECK(stored < acknowledged);
  CHECK(acknowledged < std::ptrdiff_t(out.size()));
  out.clear();
  s.core->on_message(s.now_us, key(1), report, out);
  REQUIRE(out.size() == 1);  // the Ack alone
}

TEST_CASE("Commit: reports in any order make one record, and the last waits for the others") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  s.commit(3);
  s.commit(2);
  CHECK(s.job(id).commit == 0u);
  s.commit(1);
  CHECK(s.job(id).commit == 3u);
  CHECK(s.ask("record", {{"job", id}}).body.at("steps").size() == 4);
}

TEST_CASE("Job: whose nodes never make their weights ends with what each of them does") {
  Swarm s;
  for (const int number : {1, 2}) s.join(number);
  const std::string id = s.submit();
  for (const int number : {1, 2}) s.prepared(number);
  REQUIRE(s.state(id) == "starting");
  s.run_for_ms(299'000);
  CHECK(s.state(id) == "starting");
  s.run_for_ms(1'100);
  CHECK(s.state(id) == "failed");
  CHECK_THAT(s.job(id).reason, Catch::Contains("training has not begun 300 s after the plan") &&
                                   Catch::Contains("n2, 10.0.0.2:7001): has not begun"));
}

TEST_CASE("Job: is done when every node has applied and saved the last commit") {
  Swarm s;
  const std::string id = s.start_job({1, 2}, 2, 3);
  for (const std::uint64_t step : {1u, 2u, 3u}) s.commit(step);
  s.applied(1, 3);
  s.saved(1, 3);
  CHECK(s.state(id) == "running");
  SECTION("the other one applies and saves it") {
    s.applied(2, 3);
    CHECK(s.state(id) == "running");
    s.saved(2, 3);
    CHECK(s.state(id) == "done");
    CHECK(s.job(id).reason.empty());
  }
  SECTION("the other one cannot save it") {
    s.saved(2, 3, "no space left on device");
    s.applied(2, 3);
    CHECK(s.state(id) == "done");
    CHECK_THAT(s.job(id).reason, Catch::Contains("its last state is not saved whole: stage 1: n2 (") &&
                                     Catch::Contains("no space left on device"));
  }
  SECTION("the other one never says so") {
    s.run_for_ms(600'100);
    CHECK(s.state(id) == "done");
    CHECK_THAT(s.job(id).reason, Catch::Contains("stage 1: no node has said that it saved it"));
  }
  SECTION("the other one is lost: its updates are not missing, its state is") {
    s.close(2);
    s.run_for_ms(600);
    CHECK(s.state(id) == "done");
    CHECK_THAT(s.job(id).reason, Catch::Contains("its last state is not saved whole"));
  }
  SECTION("the scheduler restarts in between") {
    s.restart();
    for (const int number : {1, 2}) s.hello(number, net::JobProgress{id, 1, 3, ""});
    s.saved(2, 3);
    s.run_for_ms(200);
    CHECK(s.state(id) == "done");
    CHECK(s.job(id).snapshot->commit == 3);
  }
}

TEST_CASE(
    "Job: ends early as failed once its last state is saved, with the reason that the lead origin gave") {
  Swarm s;
  const std::string id = s.start_job({1, 2}, 2, 30);
  const Plan plan = s.plan_of(id);
  s.commit(1);
  RecordStep step = record_step(2, plan);
  step.skipped_update = true;
  s.say(1, net::CommitReport{{id, 1, plan.epoch, 2}, to_json(step), "steps 2 to 2 made no update"});
  CHECK(s.state(id) == "running");
  CHECK(s.ask("status").body.at("job").at("skipped_updates") == 1);
  SECTION("the scheduler restarts in between") {
    s.restart();
    for (const int number : {1, 2}) s.hello(number, net::JobProgress{id, 1, 2, ""});
  }
  SECTION("nothing happens in between") {}
  for (const int number : {1, 2}) s.saved(number, 2);
  for (const int number : {1, 2}) s.applied(number, 2);
  CHECK(s.state(id) == "failed");
  CHECK(s.job(id).reason == "steps 2 to 2 made no update");
  CHECK(s.job(id).snapshot->commit == 2);
}

TEST_CASE("Commit: an early report is not acknowledged before its turn") {
  Swarm s;
  s.start_job({1, 2});
  s.acked(1);
  s.commit(2);
  CHECK(s.acked(1).empty());
  s.commit(1);
  CHECK(s.acked(1).size() == 2);
}

TEST_CASE("Commit: nobody but the lead origin makes the record") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  const Plan plan = s.plan_of(id);
  s.say(2, net::CommitReport{{id, 1, 1, 1}, to_json(record_step(1, plan))});
  CHECK(s.job(id).commit == 0u);
}

TEST_CASE("Commit: a record that cannot be read ends the job with the reason") {
  Swarm s;
  const std::string id = s.start_job({1, 2});
  s.say(1, net::CommitReport{{id, 1, 1, 1}, {{"step", "one"}}});
  CHECK_THAT(s.job(id).reason,
             Catch::Contains("sent no proper run record of step 1: record step: not a whole number"));
}

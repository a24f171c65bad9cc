// Jobs on a local swarm, from `sidestep up` to the end.
#include <signal.h>

#include <catch2/catch.hpp>
#include <chrono>

#include "tests/process/swarm_fixture.h"

namespace sidestep::testing {
namespace {

// Losses of the training steps, from the run record.
std::vector<double> losses(const LocalSwarm& swarm, const std::string& job) {
  const Finished record = swarm.ask({"record", job, "--json"});
  REQUIRE(record.status == 0);
  std::vector<double> values;
  for (const auto& line : json_lines(record.output))
    if (line.contains("loss") && line.at("loss").is_number()) values.push_back(line.at("loss"));
  return values;
}

}  // namespace

TEST_CASE("Local swarm: a job runs to its end, its loss falls, and solo replays it") {
  LocalSwarm swarm(4);
  const auto submit = swarm.submit(small_job(swarm.folder(), "small", 2, 40));
  const auto status = submit->wait_exit(Seconds(60));
  INFO(submit->output() << submit->error() << swarm.logs());
  REQUIRE(status == 0);
  CHECK(submit->output().find("job small-1 done") != std::string::npos);

  const auto values = losses(swarm, "small-1");
  REQUIRE(values.size() == 40);
  CHECK(values.back() < 0.8 * values.front());

  const auto jobs = swarm.ask_json({"jobs"}).at("jobs");
  REQUIRE(jobs.size() == 1);
  CHECK(jobs[0].at("state") == "done");
  CHECK(jobs[0].at("validation_loss").is_number());
  CHECK(swarm.ask_json({"nodes"}).at("nodes").size() == 4);

  // Every node has logged something about the job, and `--node` picks one of them.
  const Finished logs = swarm.ask({"logs", "small-1"});
  for (int node = 1; node <= 4; ++node)
    CHECK(logs.output.find("node-" + std::to_string(node)) != std::string::npos);
  const Finished one = swarm.ask({"logs", "small-1", "--node", "node-2"});
  CHECK(one.output.find("node-2") != std::string::npos);
  CHECK(one.output.find("node-3") == std::string::npos);
  CHECK(swarm.ask({"record", "small-1", "--step", "7"}).status == 0);
  const Finished missing = swarm.ask({"record", "small-1", "--step", "70"});
  CHECK(missing.status == 1);

  CHECK(replay_of(swarm.record_file("small-1")).at("largest_difference") <= 1e-5);

  swarm.up().signal(SIGTERM);
  CHECK(swarm.up().wait_exit(Seconds(15)) == 0);
  CHECK(processes_naming(swarm.dir()).empty());
}

TEST_CASE("Deterministic job: its replay has the same losses bit for bit") {
  LocalSwarm swarm(4);
  auto job = small_job(swarm.folder(), "exact", 2, 15);
  job["deterministic"] = true;
  const auto submit = swarm.submit(job);
  const auto status = submit->wait_exit(Seconds(60));
  INFO(submit->output() << submit->error() << swarm.logs());
  REQUIRE(status == 0);
  CHECK(replay_of(swarm.record_file("exact-1")).at("identical") == true);
}

TEST_CASE("Solo: a job file alone trains, and the record of that replays") {
  const TemporaryFolder folder;
  const std::string job = write_job(folder, small_job(folder, "alone", 3, 12));
  const Finished solo = run({"solo", job, "--threads", "1", "--out", folder / "alone.record"}, Seconds(60));
  INFO(solo.output << solo.error);
  REQUIRE(solo.status == 0);
  CHECK(solo.output.find("step 12/") != std::string::npos);
  const Finished replay = run({"solo", job, "--replay", folder / "alone.record"}, Seconds(60));
  INFO(replay.output << replay.error);
  CHECK(replay.status == 0);
  CHECK(replay.output.find("bit for bit") != std::string::npos);
  // A record of another job is not taken for this one's.
  const std::string other = write_job(folder, small_job(folder, "other", 2, 12));
  const Finished wrong = run({"solo", other, "--replay", folder / "alone.record"}, Seconds(60));
  CHECK(wrong.status == 1);
  CHECK(wrong.error.find("another job") != std::string::npos);
}

TEST_CASE("Solo: Ctrl-C ends it after the step that runs, and says so") {
  const TemporaryFolder folder;
  Process solo({"solo", write_job(folder, small_job(folder, "alone", 3, 1'000'000)), "--threads", "1"});
  REQUIRE(solo.wait_for("step 2/", Seconds(40)));
  solo.signal(SIGINT);
  CHECK(solo.wait_exit(Seconds(20)) == 1);
  INFO(solo.error());
  CHECK(solo.error().find("interrupted after step") != std::string::npos);
}

TEST_CASE("Killed daemon: the job ends in time with the reason and the last commit") {
  LocalSwarm swarm(3);
  auto job = small_job(swarm.folder(), "long", 3, 1'000'000);
  job["recovery"]["policy"] = "replica";  // by default the stage would be rebuilt
  const auto submit = swarm.submit(job);
  REQUIRE(submit->wait_for("step ", Seconds(40)));
  const auto killed_at = std::chrono::steady_clock::now();
  kill(swarm.node_pid(2), SIGKILL);
  const auto status = submit->wait_exit(Seconds(10));
  const Seconds taken = std::chrono::steady_clock::now() - killed_at;
  INFO(submit->output() << submit->error() << swarm.logs());
  REQUIRE(status == 1);
  CHECK(taken.count() < 6);
  CHECK(submit->output().find("job long-1 failed") != std::string::npos);
  CHECK(submit->output().find("node-2") != std::string::npos);
  CHECK(submit->output().find("last commit: step ") != std::string::npos);
  // `up` noticed, said which one, and goes on.
  REQUIRE(swarm.up().wait_for("node-2 (pid", Seconds(5)));
  CHECK(swarm.up().error().find("was killed by signal 9") != std::string::npos);
  swarm.up().signal(SIGINT);
  CHECK(swarm.up().wait_exit(Seconds(15)) == 0);
}

TEST_CASE("Killed daemon: while its stage has a replica the job goes on, and its record replays") {
  LocalSwarm swarm(4);
  const auto submit = swarm.submit(small_job(swarm.folder(), "long", 2, 600));
  REQUIRE(submit->wait_for("step ", Seconds(40)));
  // The lead origin: the holder of stage 0 with the lowest key; the others take over what it led.
  const auto stages = swarm.ask_json({"status", "long-1"}).at("job").at("stages");
  REQUIRE(stages.at(0).size() == 2);
  const std::string lead = stages.at(0).at(0);
  std::string lost;
  pid_t pid = 0;
  const auto ready = nlohmann::json::parse(read_text(swarm.dir() + "/ready"));
  for (const auto& node : ready.at("nodes"))
    if (node.at("key") == lead) {
      lost = node.at("nickname");
      pid = node.at("pid");
    }
  REQUIRE(pid > 0);
  kill(pid, SIGKILL);
  const auto status = submit->wait_exit(Seconds(120));
  INFO(submit->output() << submit->error() << swarm.logs());
  REQUIRE(status == 0);
  CHECK(submit->output().find("job long-1 done") != std::string::npos);
  CHECK(losses(swarm, "long-1").size() == 600);
  const Finished logs = swarm.ask({"logs", "long-1"});
  CHECK(logs.output.find(", without " + lost) != std::string::npos);
  CHECK(replay_of(swarm.record_file("long-1")).at("largest_difference") <= 1e-5);
}

TEST_CASE("Skipping job: routes leave stages out and swap others, and the record replays") {
  LocalSwarm swarm(4);
  auto job = small_job(swarm.folder(), "skip", 3, 30);
  job["pipeline"]["skip_ratio"] = 0.34;
  job["pipeline"]["warmup_steps"] = 5;
  job["pipeline"]["max_swaps"] = 1;
  job["validation"]["skip"] = {0.34};
  const auto submit = swarm.submit(job);
  const auto status = submit->wait_exit(Seconds(60));
  INFO(submit->output() << submit->error() << swarm.logs());
  REQUIRE(status == 0);
  for (const auto& step : json_lines(swarm.ask({"record", "skip-1", "--json"}).output)) {
    if (!step.contains("routes")) continue;
    const auto length = step.at("step") <= 5 ? 3u : 2u;
    for (const auto& route : step.at("routes")) CHECK(route.at("hops").size() == length);
    if (!step.at("evaluations").empty()) CHECK(step.at("validation_skip_losses").size() == 1);
  }
  CHECK(replay_of(swarm.record_file("skip-1")).at("largest_difference") <= 1e-5);
  // Solo without a record goes by the same lengths.
  const Finished solo = run({"solo", write_job(swarm.folder(), job), "--threads", "1"}, Seconds(60));
  INFO(solo.error);
  CHECK(solo.status == 0);
}

TEST_CASE("Restarted scheduler: the job goes on and no log line is lost") {
  LocalSwarm swarm(3);
  const auto submit = swarm.submit(small_job(swarm.folder(), "steady", 3, 400));
  REQUIRE(submit->wait_for("step ", Seconds(40)));
  const pid_t old = swarm.scheduler_pid();
  kill(old, SIGKILL);
  REQUIRE(swarm.up().wait_for("scheduler (pid", Seconds(5)));
  Process scheduler({"scheduler", "--config", swarm.scheduler_config()});
  const auto status = submit->wait_exit(Seconds(90));
  INFO(submit->output() << submit->error() << scheduler.error() << swarm.logs());
  REQUIRE(status == 0);
  CHECK(losses(swarm, "steady-1").size() == 400);
  const Finished logs = swarm.ask({"logs", "steady-1"});
  CHECK(logs.output.find("training begins") != std::string::npos);
  CHECK(logs.output.find("holds stage 0") != std::string::npos);
  // Followed after its end, it ends by itself with the same lines.
  CHECK(swarm.ask({"logs", "-f", "steady-1"}).output == logs.output);
  scheduler.signal(SIGTERM);
  CHECK(scheduler.wait_exit(Seconds(5)) == 0);
}

TEST_CASE("Queue: the second job waits for the first, and cancel ends either") {
  LocalSwarm swarm(2);
  const auto first = swarm.submit(small_job(swarm.folder(), "first", 2, 1'000'000));
  REQUIRE(first->wait_for("step ", Seconds(40)));
  const auto second = swarm.submit(small_job(swarm.folder(), "second", 2, 10));
  REQUIRE(second->wait_for("job second-2", Seconds(10)));
  const auto jobs = swarm.ask_json({"jobs"}).at("jobs");
  REQUIRE(jobs.size() == 2);
  CHECK(jobs[0].at("state") == "running");
  CHECK(jobs[1].at("state") == "queued");
  REQUIRE(swarm.ask({"cancel", "first-1"}).status == 0);
  CHECK(first->wait_exit(Seconds(10)) == 1);
  CHECK(first->output().find("job first-1 cancelled") != std::string::npos);
  const auto status = second->wait_exit(Seconds(40));
  INFO(second->output() << second->error() << swarm.logs());
  CHECK(status == 0);
  const Finished unknown = swarm.ask({"cancel", "frist-1"});
  CHECK(unknown.status == 1);
  CHECK(unknown.error.find("first-1") != std::string::npos);
}

TEST_CASE("Follow: Ctrl-C leaves the job running and says so") {
  LocalSwarm swarm(2);
  const auto submit = swarm.submit(small_job(swarm.folder(), "free", 2, 1'000'000));
  REQUIRE(submit->wait_for("step ", Seconds(40)));
  submit->signal(SIGINT);
  CHECK(submit->wait_exit(Seconds(5)) == 0);
  CHECK(submit->error().find("job free-1 goes on") != std::string::npos);
  CHECK(swarm.ask_json({"status", "free-1"}).at("job").at("state") == "running");
}

TEST_CASE("Job without data anywhere: the reason names the file") {
  LocalSwarm swarm(2);
  auto job = small_job(swarm.folder(), "blind", 2, 10);
  job["data"]["path"] = swarm.folder() / "nowhere.txt";
  const auto submit = swarm.submit(job);
  REQUIRE(submit->wait_exit(Seconds(40)) == 1);
  INFO(submit->output());
  CHECK(submit->output().find("nowhere.txt") != std::string::npos);
}

TEST_CASE("Local swarm: killing `up` leaves no process behind") {
  LocalSwarm swarm(2);
  const auto before = processes_naming(swarm.dir());
  REQUIRE(before.size() == 4);  // up, scheduler, two daemons
  swarm.up().signal(SIGKILL);
  CHECK(wait_gone(before, Seconds(5)));
}

TEST_CASE("Local swarm: a second `up` on the folder is refused, a later one takes its keys") {
  LocalSwarm swarm(2);
  const Finished second = run({"up", "--nodes", "2", "--dir", swarm.dir()});
  CHECK(second.status == 1);
  CHECK(second.error.find("another `sidestep up`") != std::string::npos);
  const std::string key = swarm.ask_json({"nodes"}).at("nodes")[0].at("key");
  swarm.up().signal(SIGTERM);
  REQUIRE(swarm.up().wait_exit(Seconds(15)) == 0);
  Process again({"up", "--nodes", "2", "--dir", swarm.dir(), "--threads", "1"});
  REQUIRE(again.wait_for("ready:", Seconds(40)));
  CHECK(swarm.ask_json({"nodes"}).at("nodes")[0].at("key") == key);
  again.signal(SIGTERM);
  CHECK(again.wait_exit(Seconds(15)) == 0);
}

}  // namespace sidestep::testing

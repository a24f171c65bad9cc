// What nodes tell of their tasks and ways, as plans, `status` and the log show it.
#include <catch2/catch.hpp>
#include <limits>

#include "scheduler/requests.h"
#include "tests/unit/scheduler/swarm.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;
using nlohmann::json;

namespace {

// Job over stages 0 and 1: the lowest key leads; each stage has two nodes.
struct Measuring : Swarm {
  Measuring() : id(start_job({1, 2, 3, 4})), plan(parse_plan(job(id).plan).value()) {}

  net::Scope scope(std::uint64_t step) const { return {id, 1, plan.epoch, step}; }
  int holder(std::uint32_t stage, std::size_t which = 0) const {
    return plan.replicas(stage)[which].bytes[0];
  }

  net::Measured measured(int number, std::int64_t forward_us, std::int64_t backward_us) const {
    net::Measured message;
    message.scope = scope(1);
    message.stages = {{plan.stages_of.at(key(number)).front(), forward_us, backward_us}};
    return message;
  }
  // A step that took that long, as the lead origin reports it.
  void commit_after(std::uint64_t step, std::int64_t us, bool with_validation = false) {
    RecordStep record = record_step(step, plan);
    record.duration_us = us;
    if (with_validation) record.evaluations.push_back({0, 0, 1.5, plan.phase(step).routes.front().hops});
    say(plan.lead_origin().bytes[0], net::CommitReport{scope(step), to_json(record)});
  }
  net::StepTimes times(int number, std::uint64_t step) const {
    net::StepTimes message{scope(step), {}, {}, 900};
    const std::uint32_t stage = plan.stages_of.at(key(number)).front();
    message.tasks = {{net::StepTaskKind::forward, false, 0, stage, 0, 5, 10, 60}};
    message.averages = {{stage, 700, 800, 64}};
    return message;
  }
  // What a plan without that node would be made from.
  std::vector<PlacementNode> figures_without(int number) {
    hold_plans = true;
    close(number);
    run_for_ms(1'000);
    REQUIRE(held_plans.size() == 1);
    return held_plans[0].request.nodes;
  }
  std::vector<std::string> log_lines(const std::string& level = "info") {
    std::vector<std::string> texts;
    const net::Reply reply = ask("logs", {{"level", level}, {"tail", true}});
    for (const json& line : reply.body.at("lines")) texts.push_back(line.at("text"));
    return texts;
  }

  std::string id;
  Plan plan;
};

const PlacementNode& of(const std::vector<PlacementNode>& list, int number) {
  for (const PlacementNode& node : list)
    if (node.key == key(number)) return node;
  FAIL("no figures of node " << number);
  return list.front();
}

}  // namespace

TEST_CASE_METHOD(Measuring, "Measured: takes the place of the answers to PrepareJob where plans are made") {
  const int slow = holder(1), lost = holder(1, 1), origin = holder(0);
  net::Measured told = measured(slow, 5'000, 9'000);  // of two layers
  told.links = {{key(origin), 30'000, 1e6}};
  say(slow, told);
  net::Measured first = measured(origin, 2'000, 4'000);
  first.head_us = 700;
  say(origin, first);
  const auto figures = figures_without(lost);
  REQUIRE(figures.size() == 3);
  CHECK(of(figures, slow).layer_us == 7'000);
  CHECK(of(figures, slow).layer_forward_us == 2'500);
  CHECK(of(figures, slow).head_us == 100);  // never measured there: as it answered
  CHECK(of(figures, slow).links == std::vector<net::LinkSpeed>{{key(origin), 30'000, 1e6}});
  CHECK(of(figures, origin).layer_us == 3'000);
  CHECK(of(figures, origin).head_us == 700);
  const PlacementNode& silent = of(figures, holder(0, 1));
  CHECK(silent.layer_us == 100);
  CHECK(silent.memory_bytes == 1u << 30);
}

TEST_CASE_METHOD(Measuring,
                 "Measured: after a restart of the scheduler a node that told nothing is like the others") {
  restart();
  for (const int number : {1, 2, 3, 4}) hello(number, net::JobProgress{id, plan.epoch, 0, ""});
  const int told = holder(1), lost = holder(1, 1);
  say(told, measured(told, 5'000, 9'000));
  const auto figures = figures_without(lost);
  CHECK(of(figures, told).layer_us == 7'000);
  CHECK(of(figures, holder(0)).layer_us == 7'000);
  CHECK(of(figures, holder(0)).head_us == 1);
  CHECK(of(figures, holder(0)).memory_bytes == PlacementNode::unknown_bytes);
}

TEST_CASE_METHOD(Measuring, "Measured: what cannot be is dropped, with a line for the scheduler's own log") {
  const int peer = holder(1);
  const auto refuse = [&](net::Measured message) { say(peer, std::move(message)); };
  net::Measured message = measured(peer, 5'000, -1);
  refuse(message);
  message = measured(peer, Instance::time_us_max + 1, 1);
  refuse(message);
  message = measured(peer, 5'000, 9'000);
  message.stages.front().stage = 0;
  refuse(message);
  message = measured(peer, 5'000, 9'000);
  message.stages.assign(3, message.stages.front());
  refuse(message);
  message = measured(peer, 5'000, 9'000);
  message.links.assign(5, {key(1), 1, 1});
  refuse(message);
  message.links = {{key(1), 1, std::numeric_limits<double>::infinity()}};
  refuse(message);
  message.links = {{key(1), -1, 1}};
  refuse(message);
  message = measured(peer, 5'000, 9'000);
  message.scope.epoch += 1;  // of a plan that is not
  refuse(message);
  message.scope = scope(1);
  message.scope.job = "another";
  refuse(message);
  say(holder(0), measured(holder(0), 1, 1));
  CHECK(of(figures_without(holder(1, 1)), peer).layer_us == 100);
}

TEST_CASE_METHOD(Measuring, "Step times: a whole step is drawn beside what the cost model says of it") {
  CHECK(ask("times", {{"job", id}}).message == "job \"" + id +
                                                   "\": no step of plan 1 has been timed so far; one is "
                                                   "about every two seconds, from its third step on");
  for (const int number : {1, 2, 3}) say(number, times(number, 8));
  CHECK(ask("times").code == Code::not_found);
  net::StepTimes backwards = times(4, 8);
  std::swap(backwards.tasks[0].begin_us, backwards.tasks[0].end_us);
  say(4, backwards);
  net::StepTimes elsewhere = times(4, 8);
  elsewhere.averages[0].stage = 9;
  say(4, elsewhere);
  net::StepTimes many = times(4, 8);
  many.tasks.assign(net::step_tasks_max + 1, many.tasks.front());
  say(4, many);
  CHECK(ask("times").code == Code::not_found);
  say(4, times(4, 8));
  const json report = ask("times").body;
  CHECK(report.at("job") == id);
  CHECK(report.at("step") == 8);
  CHECK(report.at("epoch") == 1);
  CHECK(report.at("stages") == 2);
  CHECK(report.at("microbatches").size() == 4);
  REQUIRE(report.at("nodes").size() == 4);
  CHECK(report.at("nodes")[2].at("nickname") == "n3");
  CHECK(report.at("nodes")[2].at("commit_us") == 900);
  const std::uint32_t stage = plan.stages_of.at(key(3)).front();
  CHECK(report.at("measured").at("tasks").size() == 4);
  CHECK(report.at("measured").at("tasks")[2] == json::array({2, "forward", stage, 0, 5, 10, 60}));
  CHECK(report.at("measured").at("averages")[2] == json::array({2, stage, 700, 800}));
  // Each microbatch is at two stages, there and back, and has its head.
  CHECK(report.at("predicted").at("tasks").size() == 4 * 5);
  CHECK(report.at("predicted").at("averages").size() == 4);
  CHECK(report.at("predicted").at("step_us").get<std::int64_t>() > 0);
}

TEST_CASE_METHOD(Measuring, "Step times: none of a job that does not run") {
  ask("cancel", {{"job", id}});
  CHECK(ask("times", {{"job", id}}).message ==
        "job \"" + id + "\" is cancelled; the times of steps are there while a job runs");
  CHECK(ask("times").message == "no job runs, so no step is timed");
}

TEST_CASE_METHOD(Measuring,
                 "Step times: heartbeats say of which steps they are wanted, and only of this job's") {
  const auto wanted = [&](const std::string& of_job) {
    forget_sent();
    deliver(key(1), {boot(1), 0, net::Heartbeat{1, net::JobProgress{of_job, 1, 0, ""}}});
    return sent<net::HeartbeatReply>(1).at(0).times_every;
  };
  CHECK(wanted(id) == 0);
  commit_after(1, 100'000);
  CHECK(wanted(id) == 32);
  CHECK(wanted("another") == 0);
}

TEST_CASE_METHOD(Measuring,
                 "Predicted and measured step: both in the status, and said once when they drift apart") {
  const std::int64_t predicted_us = plan.phase(1).predicted_step_us;
  REQUIRE(predicted_us > 0);
  const auto told = [&] {
    int lines = 0;
    for (const std::string& text : log_lines())
      if (text.find("% more than the") != std::string::npos) ++lines;
    return lines;
  };
  json status = ask("status").body.at("job");
  CHECK(status.at("predicted_step_s") == Approx(static_cast<double>(predicted_us) / 1e6));
  CHECK(status.at("measured_step_s").is_null());
  CHECK(status.at("drifted") == false);
  const std::int64_t long_us = 2 * predicted_us;
  for (std::uint64_t step = 1; step <= 5; ++step) commit_after(step, long_us);
  commit_after(6, 9 * predicted_us, true);  // with validation: not compared
  CHECK(told() == 0);
  CHECK(ask("status").body.at("job").at("drifted") == false);
  commit_after(7, long_us);
  status = ask("status").body.at("job");
  CHECK(status.at("measured_step_s") == Approx(static_cast<double>(long_us) / 1e6));
  CHECK(status.at("drifted") == true);
  CHECK(told() == 1);
  const std::string line = log_lines().back();
  CHECK(line.find(", 100 % more than the ") != std::string::npos);
  CHECK(line.find(" that plan 1 was predicted to take; by what is measured now, busiest is n") !=
        std::string::npos);
  CHECK(line.find("; slowest way n") != std::string::npos);
  for (std::uint64_t step = 8; step <= 20; ++step) commit_after(step, long_us);
  CHECK(told() == 1);
}

TEST_CASE_METHOD(Measuring, "Status: routes and the ways they take, where they are asked for") {
  CHECK_FALSE(ask("status").body.contains("routes"));
  CHECK_FALSE(ask("status", {{"plan", "yes"}}).body.contains("routes"));
  net::Measured told = measured(holder(1), 5'000, 9'000);
  told.links = {{key(holder(0)), 30'000, 1e6}, {key(holder(0, 1)), 30'000, 1e6}};
  say(holder(1), told);
  const json status = ask("status", {{"plan", true}}).body;
  std::size_t microbatches = 0;
  for (const json& route : status.at("routes")) {
    microbatches += route.at("microbatches").size();
    REQUIRE(route.at("hops").size() == 2);
    CHECK(route.at("hops")[0][0] == 0);
    CHECK(route.at("hops")[1][0] == 1);
  }
  CHECK(microbatches == 4);
  REQUIRE(status.at("measured").size() == 1);
  CHECK(status.at("measured")[0].at("stages") ==
        json::array({{{"stage", 1}, {"forward_us", 5'000}, {"backward_us", 9'000}}}));
  bool found = false;
  for (const json& link : status.at("links")) {
    if (link.at("from") != key(holder(1)).hex()) continue;
    found = true;
    CHECK(link.at("latency_us") == 30'000);
    CHECK(link.at("bytes_per_s") == 1e6);
    CHECK(link.at("transfer_us").get<std::int64_t>() > 30'000);
  }
  CHECK(found);
}

TEST_CASE_METHOD(Measuring, "Status: says who is silent, and until when that is waited for") {
  CHECK(ask("status").body.at("waiting") == "");
  kill(3);
  run_for_ms(2'200);
  const std::string waiting = ask("status").body.at("waiting");
  CHECK(waiting.find("a word from n3, silent for 2") == 0);
  CHECK(waiting.find(" ms of 5000") != std::string::npos);
}

TEST_CASE_METHOD(Measuring,
                 "Status: says who has not applied the last commit, and until when that is waited for") {
  for (std::uint64_t step = 1; step <= 100; ++step) commit(step);
  for (const int number : {1, 2, 4}) applied(number, 100);
  CHECK(ask("status").body.at("waiting") == "the last commit to be applied by n3, at most 600 s more");
}

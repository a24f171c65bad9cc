// `sidestep simulate` below the command line: what is reported, and where the time went.
#include "daemon/simulator/simulation.h"
#include "net/clock.h"

#include <catch2/catch.hpp>
#include <numeric>

#include "tests/sim/sim_job.h"

namespace sidestep::sim {
namespace {

using net::second;

scheduler::JobSpec job_of(std::int64_t steps) {
  JobShape shape;
  shape.stages = 2;
  shape.microbatches = 8;
  shape.steps = steps;
  return job_spec(shape);
}

// Six machines, two stages with three replicas each; a step takes about a quarter of a second.
Scenario six_machines() {
  Scenario scenario;
  scenario.job = job_of(1'000);
  scenario.job_json = to_json(scenario.job);
  scenario.nodes = {{.count = 6, .layer_forward_ms = 20, .spread = 0.2}};
  scenario.duration_s = 30;
  scenario.planning_work = 20'000;
  return scenario;
}

struct Run {
  SimReport report;
  std::string trace;
};

Run run(const Scenario& scenario, std::uint64_t seed = 1) {
  Run run;
  auto report = simulate(scenario, seed, [&](const std::string& line) { run.trace += line + '\n'; });
  INFO(report.status().message());
  REQUIRE(report.ok());
  run.report = std::move(report).value();
  return run;
}

std::int64_t of(const SimReport& report, Share share) {
  return report.shares[static_cast<std::size_t>(share)];
}

std::int64_t whole(const SimReport& report) {
  return std::accumulate(report.shares.begin(), report.shares.end(), std::int64_t{0});
}

std::string notes_of(const SimReport& report) {
  std::string text;
  for (const SimNote& note : report.notes) text += note.who + " " + note.what + "\n";
  return text;
}

}  // namespace

TEST_CASE("Simulation: the same seed gives the same report and trace, another seed another") {
  Scenario scenario = six_machines();
  scenario.duration_s = 15;
  scenario.churn = {.every_s = 5, .another_after_s = 2};
  const Run first = run(scenario), again = run(scenario), other = run(scenario, 2);
  CHECK(first.trace.size() > 10'000);
  CHECK((first.trace == again.trace));
  CHECK((first.trace != other.trace));
  CHECK(first.report.shares == again.report.shares);
  CHECK(notes_of(first.report) == notes_of(again.report));
}

TEST_CASE("Simulation: nothing happens, and steps take what the plan predicts") {
  const SimReport report = run(six_machines()).report;
  CHECK(report.state == scheduler::JobState::running);
  REQUIRE(report.plans.size() == 1);
  CHECK(report.duration_us == 30 * second);
  CHECK(whole(report) == static_cast<std::int64_t>(report.plans[0].nodes) * report.duration_us);
  CHECK(of(report, Share::useful) > whole(report) / 3);
  CHECK(of(report, Share::redo) == 0);
  CHECK(of(report, Share::detect) == 0);
  CHECK(of(report, Share::replan) == 0);
  CHECK(report.steps == report.plans[0].took_us.size());
  CHECK(report.tokens == report.steps * static_cast<std::uint64_t>(six_machines().job.tokens_per_step()));
  const auto predicted = static_cast<double>(report.plans[0].predicted_us);
  CHECK(static_cast<double>(report.median_us()) == Approx(predicted).epsilon(0.15));
}

TEST_CASE("Simulation: a killed node costs detection, a plan and the step under way") {
  Scenario scenario = six_machines();
  scenario.events = {{.at_s = 10, .kind = "kill", .node = 2}};
  const SimReport report = run(scenario).report;
  INFO(notes_of(report));
  REQUIRE(report.plans.size() == 2);
  REQUIRE(report.plans[0].nodes == 6);
  CHECK(report.plans[1].nodes == 5);
  CHECK(whole(report) == (6 * 10 + 5 * 20) * second);
  CHECK(of(report, Share::detect) > 0);
  CHECK(of(report, Share::replan) > 0);
  CHECK(of(report, Share::redo) > 0);
  // Found by its closed connection: half a second, of five nodes.
  CHECK(of(report, Share::detect) < 5 * second);
}

TEST_CASE("Simulation: a machine that vanishes is found after 5 s of silence") {
  Scenario scenario = six_machines();
  scenario.events = {{.at_s = 10, .kind = "vanish", .node = 2}};
  const SimReport report = run(scenario).report;
  REQUIRE(report.plans.size() == 2);
  CHECK(report.plans[1].at_us >= 15 * second - second / 5);  // its last heartbeat was up to 0.2 s before
  CHECK(report.plans[1].at_us < 16 * second);
  // The others end what they have begun, then wait.
  CHECK(of(report, Share::detect) > 4 * 5 * second);
}

TEST_CASE("Simulation: who comes later learns a stage and is in a later plan") {
  Scenario scenario = six_machines();
  scenario.nodes.push_back({.count = 1, .layer_forward_ms = 20, .later = true});
  scenario.events = {{.at_s = 5, .kind = "kill", .node = 2}, {.at_s = 10, .kind = "start", .node = 7}};
  const SimReport report = run(scenario).report;
  INFO(notes_of(report));
  CHECK(report.nodes == 7);
  CHECK(report.plans.back().nodes == 6);
  CHECK(report.plans.back().took_us.size() > 5);
}

TEST_CASE("Simulation: a pause counts as detection while it lasts, and nobody is lost by a short one") {
  Scenario scenario = six_machines();
  scenario.events = {{.at_s = 10, .kind = "pause", .node = 3, .for_s = 3}};
  const SimReport report = run(scenario).report;
  CHECK(report.plans.size() == 1);
  CHECK(of(report, Share::detect) > 5 * second);
  CHECK(of(report, Share::replan) == 0);
}

TEST_CASE("Simulation: slow tasks and slow links make steps longer") {
  const std::int64_t calm_us = run(six_machines()).report.median_us();
  Scenario slow = six_machines();
  for (std::int64_t node = 1; node <= 6; ++node)
    slow.events.push_back({.at_s = 0, .kind = "slow", .node = node, .factor = 2});
  CHECK(run(slow).report.median_us() > calm_us * 3 / 2);
  Scenario far = six_machines();
  far.links.latency_ms = 50;
  const SimReport report = run(far).report;
  CHECK(report.median_us() > calm_us + 4 * 50'000);
  CHECK(of(report, Share::transfer) > 0);
}

TEST_CASE("Simulation: a job whose stage is lost fails, with its step and the reason") {
  Scenario scenario = six_machines();
  scenario.job.recovery.policy = "replica";
  scenario.job_json = to_json(scenario.job);
  scenario.nodes[0].count = 2;
  scenario.events = {{.at_s = 10, .kind = "kill", .node = 1}};
  const SimReport report = run(scenario).report;
  CHECK(report.state == scheduler::JobState::failed);
  CHECK(report.reason.find("has no replica left") != std::string::npos);
  CHECK(report.steps > 0);
  CHECK(report.duration_us < 11 * second);
}

TEST_CASE("Simulation: a job that cannot begin is an error with the scheduler's reason") {
  Scenario scenario = six_machines();
  scenario.nodes[0].count = 1;
  const auto report = simulate(scenario, 1);
  REQUIRE_FALSE(report.ok());
  CHECK(report.status().message().find("2 stages need 2 nodes, 1 is alive") != std::string::npos);
}

TEST_CASE("Simulation: a job that ends in time is done") {
  Scenario scenario = six_machines();
  scenario.job = job_of(10);
  scenario.job_json = to_json(scenario.job);
  const SimReport report = run(scenario).report;
  CHECK(report.state == scheduler::JobState::done);
  CHECK(report.steps == 10);
  CHECK(report.duration_us < 20 * second);
  CHECK(whole(report) == static_cast<std::int64_t>(report.plans[0].nodes) * report.duration_us);
}

TEST_CASE("Simulation: events for nodes that are not there are said, and change nothing") {
  Scenario scenario = six_machines();
  scenario.duration_s = 5;
  scenario.events = {{.at_s = 1, .kind = "start", .node = 1}};
  const SimReport report = run(scenario).report;
  CHECK(notes_of(report).find("node-1 start: it is there already") != std::string::npos);
  CHECK(report.plans.size() == 1);
}

}  // namespace sidestep::sim

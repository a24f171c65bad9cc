// sidestep plan, from the line to what is printed and written.
#include <catch2/catch.hpp>

#include "daemon/cli/app.h"
#include "daemon/cli/plan_report.h"
#include "scheduler/options.h"
#include "scheduler/planner/instance_json.h"
#include "tests/support/svg_reader.h"
#include "tests/unit/cli/command.h"
#include "tests/unit/data/temporary_folder.h"
#include "tests/unit/planner/published.h"

namespace sidestep::cli {
namespace {

using daemon::testing::read_file;
using daemon::testing::TemporaryFolder;
using nlohmann::json;

const std::string instances = SIDESTEP_SOURCE_DIR "/configs/instances/";
const std::string published = instances + "published20.json";
const std::string published_plans = instances + "published20.plans.json";

using testing::Outcome;

Outcome plan(std::vector<std::string> words) {
  words.insert(words.begin(), "plan");
  return testing::run_line(std::move(words));
}

void check_plan_usage(const std::vector<std::string>& words, const std::string& text) {
  const Outcome outcome = plan(words);
  CHECK(outcome.status == exit_usage);
  CHECK(outcome.output.empty());
  CHECK_THAT(outcome.error, Catch::Contains(text));
}

void check_failure(const std::vector<std::string>& words, const std::string& text) {
  const Outcome outcome = plan(words);
  CHECK(outcome.status == exit_failed);
  CHECK_THAT(outcome.error, Catch::StartsWith("sidestep: ") && Catch::Contains(text));
}

// Four nodes, one for each of three stages and one more for the first.
json small_instance() {
  json instance{{"name", "small"},        {"stages", 3},
                {"stages_per_path", 2},   {"max_swaps", 1},
                {"task_gap_s", 0.1},      {"microbatches_per_step", 4},
                {"nodes", json::array()}, {"transfer_s", json::array()}};
  for (int n = 0; n < 4; ++n) {
    instance["nodes"].push_back({{"id", n},
                                 {"location", "Iowa"},
                                 {"forward_s", 1},
                                 {"backward_s", 1.5},
                                 {"head_s", 0.25},
                                 {"slots", 4}});
    instance["transfer_s"].push_back({0.5, 0.5, 0.5, 0.5});
  }
  return instance;
}

std::string write(const TemporaryFolder& folder, const std::string& name, const json& value) {
  daemon::testing::write_bytes(folder.path(name), value.dump());
  return folder.path(name);
}

}  // namespace

TEST_CASE("plan: a table of five methods, each with its bound and gap") {
  const Outcome outcome = plan({published, "--work", "200000"});
  REQUIRE(outcome.status == exit_ok);
  CHECK(outcome.error.empty());
  CHECK_THAT(outcome.output, Catch::StartsWith("METHOD        MAKESPAN"));
  for (const char* method : {"\nfull ", "\ndtfm ", "\nrandom-skip ", "\nno-collision ", "\nsidestep "})
    CHECK_THAT(outcome.output, Catch::Contains(method));
  CHECK(outcome.output.find("STEP ") == std::string::npos);  // the instance does not count averaging
  CHECK(outcome.output.find("breaks") == std::string::npos);
}

TEST_CASE("plan: as JSON, where the same work gives the same plan with any number of threads") {
  const auto planned = [](const char* threads) {
    const Outcome outcome = plan(
        {published, "--method", "sidestep,no-collision", "--work", "300000", "--threads", threads, "--json"});
    REQUIRE(outcome.status == exit_ok);
    return json::parse(outcome.output);
  };
  const json one = planned("1"), three = planned("3");
  CHECK(one["instance"] == "published20");
  CHECK(one["nodes"] == 20);
  CHECK(one["microbatches"] == 30);
  CHECK(one["work"] == 300'000);
  CHECK(one["budget_s"].is_null());
  CHECK(one["lanes"] == 2);
  CHECK(three["threads"] == 3);
  REQUIRE(one["plans"].size() == 2);
  for (std::size_t i = 0; i < 2; ++i) {
    const json& row = one["plans"][i];
    CHECK(row["method"] == (i == 0 ? "sidestep" : "no-collision"));
    CHECK(row["finishes"] == true);
    CHECK(row["broken"].empty());
    CHECK(row["waits"].empty());
    if (i == 0) CHECK(row["makespan_s"] <= row["first_s"]);  // the other does not look at it
    CHECK(row["bound_s"] <= row["makespan_s"]);
    CHECK(row["gap"].get<double>() ==
          Approx(row["makespan_s"].get<double>() / row["bound_s"].get<double>() - 1));
    CHECK(row["utilisation"] > 0);
    CHECK(row["utilisation"] <= 1);
    CHECK(row["evaluations"] > 0);
    CHECK(row.contains("seconds"));
    CHECK(row["makespan_s"] == three["plans"][i]["makespan_s"]);
    CHECK_FALSE(row.contains("step_s"));
  }
}

TEST_CASE("plan: the plan that is written can be evaluated, drawn and begun with") {
  const TemporaryFolder folder;
  const std::string out = folder.path("plan.json"), svg = folder.path("plan.svg");
  const Outcome made = plan({published, "--method", "full", "--method", "sidestep", "--work", "300000",
                             "--out", out, "--svg", svg, "--json"});
  REQUIRE(made.status == exit_ok);
  const json row = json::parse(made.output)["plans"][1];
  CHECK(testing::read_svg(read_file(svg)).front().tag == "svg");
  CHECK_THAT(read_file(svg), Catch::Contains("published20: plan of sidestep"));

  const Outcome evaluated = plan({published, "--start", out, "--evaluate", "--json"});
  REQUIRE(evaluated.status == exit_ok);
  const json worth = json::parse(evaluated.output);
  CHECK(worth["makespan_s"] == row["makespan_s"]);
  CHECK(worth["nodes"].size() == 20);
  CHECK(worth["nodes"][0].contains("utilisation"));

  const Outcome again = plan(
      {published, "--start", out, "--keep-placement", "--method", "sidestep", "--work", "100000", "--json"});
  REQUIRE(again.status == exit_ok);
  const json rows = json::parse(again.output)["plans"];
  CHECK(rows[0]["method"] == "start");
  CHECK(rows[0]["makespan_s"] == row["makespan_s"]);
  CHECK(rows[1]["makespan_s"] <= row["makespan_s"]);
}

TEST_CASE("plan: --out alone writes the plan of the one method") {
  const TemporaryFolder folder;
  const std::string out = folder.path("plan.json");
  REQUIRE(plan({published, "--method", "dtfm", "--work", "10000", "--out", out}).status == exit_ok);
  const auto file = scheduler::load_json_file(out);
  REQUIRE(file.ok());
  // Whole pipelines: every route visits all six stages.
  for (const json& path : file.value()["paths"]) CHECK(path["hops"].size() == 6);
}

TEST_CASE("plan: a published plan is judged as published") {
  const Outcome outcome =
      plan({published, "--start", published_plans, "--start-name", "SkipPipe", "--evaluate"});
  CHECK(outcome.status == exit_ok);
  CHECK_THAT(outcome.output, Catch::StartsWith("makespan 33.574 s; lower bound "));
  CHECK_THAT(outcome.output, Catch::Contains("broken rules: none\ndeadlocks: none\n"));
  CHECK_THAT(outcome.output, Catch::Contains("\nNODE  LOCATION   STAGES  SLOTS  TASKS  BUSY"));
}

TEST_CASE("plan: what is wrong with a plan is named, and is the exit status") {
  const TemporaryFolder folder;
  const std::string instance = write(folder, "small.json", small_instance());
  // Two routes that hold the one slot that the other one needs, and a third of the microbatches missing.
  const json start{
      {"stage_of", {{"0", 0}, {"1", 1}, {"2", 2}, {"3", 0}}},
      {"slots_of", {{"0", 1}, {"1", 1}, {"2", 1}, {"3", 1}}},
      {"paths", {{{"microbatch", 0}, {"hops", {0, 1, 2}}}, {{"microbatch", 1}, {"hops", {3, 2, 1}}}}}};
  const std::string file = write(folder, "start.json", start);
  const Outcome outcome = plan({instance, "--start", file, "--evaluate"});
  CHECK(outcome.status == exit_failed);
  CHECK_THAT(outcome.output, Catch::StartsWith("does not finish; what runs ends after "));
  CHECK_THAT(outcome.output, Catch::Contains("microbatch 0 waits at node 2, stage 2"));
  CHECK_THAT(outcome.output, Catch::Contains("microbatch 1 waits at node 1, stage 1"));
  CHECK_THAT(outcome.output, Catch::Contains("broken rules:\n  "));
  const json report = json::parse(plan({instance, "--start", file, "--evaluate", "--json"}).output);
  CHECK(report["finishes"] == false);
  CHECK(report["waits"].size() == 2);
  CHECK_FALSE(report["broken"].empty());
  // Planning goes on from it all the same.
  const Outcome planned = plan({instance, "--start", file, "--work", "5000", "--method", "sidestep"});
  CHECK(planned.status == exit_ok);
  CHECK_THAT(planned.output, Catch::Contains("\nstart     never"));
  CHECK_THAT(planned.output,
             Catch::Contains("start: does not finish, 2 microbatches wait for ever; first: "));
}

TEST_CASE("plan: one of several plans in a file is chosen by name") {
  check_failure({published, "--start", published_plans},
                published_plans + ": holds 3 plans; choose one with --start-name: \"SkipPipe\", ");
  check_failure({published, "--start", published_plans, "--start-name", "SkipPip"},
                "did you mean \"SkipPipe\"?");
  check_failure({published, "--start", published_plans, "--start-name", "zzzzzzzzzz"},
                "there are \"SkipPipe\", ");
  const TemporaryFolder folder;
  const std::string one = write(folder, "one.json", scheduler::testing::published_plan_json());
  check_failure({published, "--start", one, "--start-name", "SkipPipe"}, "nothing to choose from");
}

TEST_CASE("plan: impossible and malformed instances are refused, every line as it was found") {
  const TemporaryFolder folder;
  json instance = small_instance();
  instance["nodes"][2]["slots"] = 0;
  instance["transfer_s"][1].erase(0);
  const Outcome outcome = plan({write(folder, "bad.json", instance)});
  CHECK(outcome.status == exit_failed);
  CHECK_THAT(outcome.error, Catch::Contains("nodes[2].slots") && Catch::Contains("transfer_s[1]"));
  instance = small_instance();
  instance["min_visits_per_stage"] = 4;
  instance["max_visits_per_stage"] = 4;
  check_failure({write(folder, "tight.json", instance)}, "visits");
  check_failure({folder.path("nowhere.json")}, "nowhere.json: cannot be read");
  check_failure({write(folder, "free.json", small_instance()), "--keep-placement"},
                "there is no \"stage_of\"");
}

TEST_CASE("plan: where a file cannot be written is known before the search") {
  const TemporaryFolder folder;
  check_failure({published, "--budget", "1d", "--out", folder.path("no/such/plan.json")},
                "no/such/plan.json");
  check_failure({published, "--budget", "1d", "--svg", folder.path("no/such/plan.svg")}, "no/such/plan.svg");
}

TEST_CASE("plan: an instance out of a table of links and a job") {
  const TemporaryFolder folder;
  const std::string file = folder.path("made.json");
  const std::string job = SIDESTEP_SOURCE_DIR "/configs/jobs/quickstart.json";
  const std::vector<std::string> words = {
      "--from-wan", instances + "wan.json", "--nodes", "Belgium:3,Iowa:2", "--model", job};
  auto writing = words;
  writing.insert(writing.end(), {"--write-instance", file});
  const Outcome written = plan(writing);
  REQUIRE(written.status == exit_ok);
  CHECK_THAT(written.output, Catch::Contains("5 nodes, 4 stages, 8 microbatches in " + file));
  const auto instance = scheduler::load_instance(file);
  REQUIRE(instance.ok());
  CHECK(instance.value().nodes[0].location == "Belgium");
  CHECK(instance.value().stages_per_path == 4);
  CHECK(instance.value().counts_averaging());

  auto planning = words;
  planning.insert(planning.end(), {"--skip-ratio", "0.25", "--work", "20000", "--method", "sidestep"});
  const Outcome planned = plan(planning);
  REQUIRE(planned.status == exit_ok);
  CHECK_THAT(planned.output, Catch::StartsWith("METHOD    MAKESPAN") && Catch::Contains("  STEP "));
  auto elsewhere = words;
  elsewhere[3] = "Atlantis:3";
  check_failure(elsewhere, "--nodes: ");
}

TEST_CASE("plan: wrong usage is named before anything is read") {
  check_plan_usage({}, "INSTANCE.json or --from-wan WAN.json");
  check_plan_usage({"x.json", "--method", "skippipe"}, "--method: unknown value \"skippipe\"");
  check_plan_usage({"x.json", "--method", "dtfn"}, "did you mean \"dtfm\"?");
  check_plan_usage({"x.json", "--budget", "2"}, "--budget: value \"2\" is no length of time");
  check_plan_usage({"x.json", "--budget", "2s", "--work", "5"}, "--work");
  check_plan_usage({"x.json", "--work", "0"}, "--work: value 0 is too small, at least 1 allowed");
  check_plan_usage({"x.json", "--threads", "5000"},
                   "--threads: value 5000 is too large, at most 4096 allowed");
  check_plan_usage({"x.json", "--lanes", "0"}, "--lanes: value 0 is too small, at least 1 allowed");
  check_plan_usage({"x.json", "--evaluate"}, "--start");
  check_plan_usage({"x.json", "--start", "p.json", "--evaluate", "--out", "q.json"}, "--out");
  check_plan_usage({"x.json", "--start-name", "a"}, "--start");
  check_plan_usage({"x.json", "--from-wan", "w.json", "--nodes", "3", "--model", "j.json"}, "--from-wan");
  check_plan_usage({"--from-wan", "w.json", "--nodes", "3"}, "--model");
  check_plan_usage({"x.json", "--skip-ratio", "0.3"}, "--from-wan");
  check_plan_usage({"x.json", "--method", "full,dtfm", "--out", "p.json"},
                   "--method: which of these plans is to be written?");
  check_plan_usage({"x.json", "--budgte", "2s"}, "unknown flag \"--budgte\"; did you mean \"--budget\"?");
}

TEST_CASE("Plan report: figures of a row, and JSON by lines") {
  PlanRow row;
  row.bound.step_us = 2'000'000;
  row.evaluation.step_us = 3'000'000;
  row.evaluation.nodes = {{1, 1, 0.5}, {0, 0, 0}};
  CHECK(gap(row) == Approx(0.5));
  CHECK(mean_utilisation(row.evaluation) == Approx(0.25));
  row.bound.step_us = 0;
  CHECK(gap(row) == 0);
  const nlohmann::ordered_json value = {
      {"a", {{"b", 1}}}, {"c", {{1, 2}, {3}}}, {"d", {1, 2}}, {"e", "\xff"}};
  CHECK(by_lines(value) ==
        "{\n \"a\": {\"b\":1},\n \"c\": [\n  [1,2],\n  [3]\n ],\n \"d\": [1,2],\n \"e\": "
        "\"\xef\xbf\xbd\"\n}\n");
  CHECK(json::parse(by_lines(nlohmann::ordered_json::object())).empty());
}

}  // namespace sidestep::cli

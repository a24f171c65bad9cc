#include "daemon/solo/replay.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <fstream>

#include "daemon/simulator/fake_runner.h"
#include "daemon/solo/solo.h"
#include "tests/sim/sim_job.h"

using namespace sidestep;
using namespace sidestep::daemon;
using scheduler::RecordHeader;
using scheduler::RecordStep;
using scheduler::to_json;
using sim::FakeOptions;
using sim::FakeTrace;
using sim::job_spec;
using sim::JobShape;

namespace {

FakeOptions solo_options(bool exact_sums) {
  FakeOptions options;
  options.exact_sums = exact_sums;
  options.limit_slots = false;
  return options;
}

std::vector<RecordStep> solo_steps(const JobShape& shape, const FakeOptions& options) {
  auto trace = std::make_shared<FakeTrace>();
  std::vector<RecordStep> steps;
  const Status status = run_solo(job_spec(shape), fake_factory(options, trace), [&](const RecordStep& step) {
    steps.push_back(step);
    return Status();
  });
  INFO(status.message());
  REQUIRE(status.ok());
  CHECK(trace->violations.empty());
  CHECK(trace->live_tensors == 0);
  return steps;
}

StepSource source_of(const std::vector<RecordStep>& steps) {
  return [&steps, next = std::size_t{0}]() mutable -> Result<std::optional<RecordStep>> {
    if (next == steps.size()) return std::optional<RecordStep>();
    return std::optional<RecordStep>(steps[next++]);
  };
}

Result<ReplayReport> replay_of(const JobShape& shape, const std::vector<RecordStep>& steps,
                               const FakeOptions& options) {
  auto trace = std::make_shared<FakeTrace>();
  const RecordHeader header{"sim-1", scheduler::to_json(job_spec(shape))};
  Result<ReplayReport> report =
      replay(header, recoveries_of(steps), source_of(steps), fake_factory(options, trace));
  CHECK(trace->violations.empty());
  CHECK(trace->live_tensors == 0);
  return report;
}

class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& text) {
    char name[] = "/tmp/sidestep-record-XXXXXX";
    const int file = mkstemp(name);
    REQUIRE(file >= 0);
    close(file);
    path = name;
    std::ofstream(path) << text;
  }
  ~TemporaryFile() { std::remove(path.c_str()); }
  std::string path;
};

}  // namespace

TEST_CASE("Solo: its steps are numbered, complete, and validate when the job says") {
  JobShape shape;
  shape.steps = 4;
  shape.validation_every = 2;
  const auto steps = solo_steps(shape, solo_options(true));
  REQUIRE(steps.size() == 6);  // 0, four updates, one for the validation after the last
  CHECK_FALSE(steps[0].loss);
  for (std::size_t i = 0; i < steps.size(); ++i) CHECK(steps[i].step == i);
  for (std::size_t i = 1; i <= 4; ++i) {
    double sum = 0;
    for (const auto& route : steps[i].routes) sum += route.loss;
    CHECK(steps[i].loss == sum / 4);
    CHECK(steps[i].tokens == 8);
    CHECK(steps[i].duration_us > 0);
  }
  CHECK_FALSE(steps[5].loss);
  CHECK(steps[5].tokens == 0);
  for (std::size_t i = 1; i <= 5; ++i) {
    const bool validates = job_spec(shape).evaluations_in(static_cast<std::int64_t>(i)) > 0;
    CHECK(steps[i].validation_loss.has_value() == validates);
  }
  CHECK(steps[5].validation_loss);
}

TEST_CASE("Solo: what it did replays to the same losses, bit for bit") {
  JobShape shape;
  shape.validation_every = 2;
  shape.gradient_scale = GENERATE("visited", "step");
  const bool exact_sums = GENERATE(true, false);
  const auto options = solo_options(exact_sums);
  const auto steps = solo_steps(shape, options);
  const auto report = replay_of(shape, steps, options);
  REQUIRE(report.ok());
  CHECK(report.value().identical);
  CHECK(report.value().largest_difference == 0);
  CHECK(report.value().steps == static_cast<std::uint64_t>(job_spec(shape).final_step()));
}

TEST_CASE("Solo: an average that is not finite makes no update") {
  JobShape shape;
  FakeOptions options = solo_options(true);
  options.non_finite_step = 2;
  const auto steps = solo_steps(shape, options);
  CHECK_FALSE(steps[1].skipped_update);
  CHECK(steps[2].skipped_update);
  const auto report = replay_of(shape, steps, options);
  REQUIRE(report.ok());
  CHECK(report.value().identical);
}

TEST_CASE("Solo: its observer can end it") {
  auto trace = std::make_shared<FakeTrace>();
  const Status status =
      run_solo(job_spec({}), fake_factory(solo_options(true), trace), [&](const RecordStep& step) {
        return step.step == 2 ? Status::refused("stopped by a signal") : Status();
      });
  CHECK(status.message() == "stopped by a signal");
  CHECK(trace->jobs.at(0).updates == 2);
}

TEST_CASE("Replay: an order that differs from the recorded one is seen where sums are not exact") {
  const JobShape shape;
  const auto options = solo_options(false);
  auto steps = solo_steps(shape, options);
  auto& added = steps[1].stages[2].replicas[0].added;
  REQUIRE(added.size() == 4);
  std::swap(added[0], added[3]);
  // Followed as written now, which is another order than the one in which the losses were made.
  const auto report = replay_of(shape, steps, options);
  REQUIRE_FALSE(report.ok());
  CHECK(report.status().message() ==
        "step 1, stage 0, node 0000, microbatch 0: cannot be added in the order recorded: it contradicts the "
        "orders of the other nodes");
}

TEST_CASE("Replay: a loss that differs is reported with its place") {
  const JobShape shape;
  const auto options = solo_options(true);
  auto steps = solo_steps(shape, options);
  steps[3].routes[1].loss *= 1.5;
  const auto report = replay_of(shape, steps, options);
  REQUIRE(report.ok());
  CHECK_FALSE(report.value().identical);
  CHECK(report.value().first_difference.starts_with("step 3, microbatch 1: recorded "));
  CHECK(report.value().largest_difference == Approx(1.0 / 3));
}

TEST_CASE("Replay: what step 0 does not say cannot be followed") {
  const JobShape shape;
  const auto options = solo_options(true);
  auto steps = solo_steps(shape, options);
  SECTION("no step 0") {
    steps.erase(steps.begin());
    CHECK(replay_of(shape, steps, options).status().message() ==
          "the record does not begin with step 0 and the nodes that hold its stages");
  }
  SECTION("a node later that does not hold what its routes visit") {
    steps[2].stages[1].replicas[0].node.bytes[0] = 9;
    CHECK(replay_of(shape, steps, options).status().message() ==
          "step 2, stage 1, node 0000, microbatch 0: the node does not hold this stage");
  }
}

TEST_CASE("Replay: a node that takes a stage over on the way goes on with its state") {
  const JobShape shape;
  const auto options = solo_options(true);
  auto steps = solo_steps(shape, options);
  for (std::size_t step = 2; step < steps.size(); ++step) {
    steps[step].stages[1].replicas[0].node.bytes[0] = 9;
    for (scheduler::RecordRoute& route : steps[step].routes)
      for (net::Hop& hop : route.hops)
        if (hop.stage == 1) hop.node.bytes[0] = 9;
    for (scheduler::RecordRoute& route : steps[step].evaluations)
      for (net::Hop& hop : route.hops)
        if (hop.stage == 1) hop.node.bytes[0] = 9;
  }
  const auto report = replay_of(shape, steps, options);
  INFO(report.status().message());
  REQUIRE(report.ok());
  CHECK(report.value().identical);
}

TEST_CASE("Record file: what is written is read back") {
  const JobShape shape;
  const auto steps = solo_steps(shape, solo_options(true));
  const RecordHeader header{"sim-1", scheduler::to_json(job_spec(shape))};
  std::string text = to_json(header).dump() + "\n";
  for (const RecordStep& step : steps) text += to_json(step).dump() + "\n";
  const TemporaryFile file(text);
  auto record = RecordFile::open(file.path);
  REQUIRE(record.ok());
  CHECK(record.value().header() == header);
  for (const RecordStep& step : steps) {
    const auto read = record.value().next();
    REQUIRE(read.ok());
    CHECK(*read.value() == step);
  }
  CHECK_FALSE(record.value().next().value());
}

TEST_CASE("Record file: malformed ones are refused with the line") {
  const auto steps = solo_steps({}, solo_options(true));
  const std::string header = to_json(RecordHeader{"sim-1", scheduler::to_json(job_spec({}))}).dump() + "\n";
  const std::string zero = to_json(steps[0]).dump() + "\n";
  const std::string one = to_json(steps[1]).dump() + "\n";
  struct Row {
    std::string text;
    std::string message;  // after the path
  };
  const Row rows[] = {
      {"", ": is empty; a record begins with a header"},
      {"not json\n", ":1: the header is not JSON"},
      {"{}\n", ":1: record header: "},
      {zero + one, ":1: record header: "},
      {header + one, ":2: step 1 where step 0 should be"},
      {header + zero + zero, ":3: step 0 where step 1 should be"},
      {header + zero + one.substr(0, one.size() / 2), ":3: is not JSON; was the file cut short?"},
      {header + zero + "{\"step\": 1}\n", ":3: record step: "},
      {header + zero + "[]\n", ":3: record step: "},
      {header + "\n" + zero, ":2: is not JSON; was the file cut short?"},
  };
  for (const Row& row : rows) {
    DYNAMIC_SECTION(row.message << " in " << row.text.size()) {
      const TemporaryFile file(row.text);
      auto record = RecordFile::open(file.path);
      Status status = record.status();
      while (status.ok()) {
        const auto step = record.value().next();
        status = step.status();
        if (step.ok()) REQUIRE(step.value());  // the table's files all end in an error
      }
      CHECK(status.code() == Code::invalid);
      CHECK(status.message().starts_with(file.path + row.message));
    }
  }
  CHECK(RecordFile::open("/nonexistent/record").status().code() == Code::io);
}

TEST_CASE(
    "Solo: ends after as many steps in a row without an update as the job allows, and its record replays") {
  JobShape shape;
  shape.steps = 20;
  FakeOptions options = solo_options(true);
  options.non_finite_step = 4;
  options.non_finite_last = 20;
  scheduler::JobSpec job = job_spec(shape);
  job.optimizer.non_finite_max = 3;
  auto trace = std::make_shared<FakeTrace>();
  std::vector<RecordStep> steps;
  const Status status = run_solo(job, fake_factory(options, trace), [&](const RecordStep& step) {
    steps.push_back(step);
    return Status();
  });
  CHECK_FALSE(status.ok());
  CHECK_THAT(status.message(), Catch::Contains("steps 4 to 6 made no update"));
  REQUIRE(steps.size() == 7);
  CHECK(steps.back().skipped_update);
  const auto replayed = replay_of(shape, steps, options);
  REQUIRE(replayed.ok());
  CHECK(replayed.value().identical);
}

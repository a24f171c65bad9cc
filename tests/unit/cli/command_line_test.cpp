// What the parser says to the user, and with which exit status.
#include <catch2/catch.hpp>

#include "daemon/cli/app.h"
#include "daemon/cli/flags.h"
#include "scheduler/nearest.h"
#include "tests/unit/cli/command.h"

namespace sidestep::cli {
namespace {

using testing::Outcome;
using testing::run_line;

void check_usage(const std::vector<std::string>& words, const std::string& text) {
  const Outcome outcome = run_line(words);
  CHECK(outcome.status == exit_usage);
  CHECK(outcome.error == text + "\n");
}

}  // namespace

TEST_CASE("Command line: an unknown word is answered with the nearest known one") {
  check_usage({"sumbit", "x.json"}, "unknown command \"sumbit\"; did you mean \"submit\"?");
  check_usage({"frobnicate"}, "unknown command \"frobnicate\"; see sidestep --help");
  check_usage({"submit", "x.json", "--folow"}, "unknown flag \"--folow\"; did you mean \"--follow\"?");
  check_usage({"up", "--node=3"}, "unknown flag \"--node\"; did you mean \"--nodes\"?");
  check_usage({"--verison"}, "unknown flag \"--verison\"; did you mean \"--version\"?");
  check_usage({"status", "a", "b"}, "unexpected word \"b\"; see sidestep status --help");
  check_usage({}, "no command given; see sidestep --help");
}

TEST_CASE("Command line: a value out of range is named with its bound") {
  check_usage({"up", "--nodes", "70000"}, "--nodes: value 70000 is too large, at most 1024 allowed");
  check_usage({"up", "--nodes", "0"}, "--nodes: value 0 is too small, at least 1 allowed");
  check_usage({"up", "--nodes", "six"}, "--nodes: value \"six\" is not a whole number");
  check_usage({"up", "--nodes", "99999999999999999999"},
              "--nodes: value 99999999999999999999 is too large, at most 1024 allowed");
  check_usage({"up", "--emulate", "e.json", "--emulate-scale", "2"},
              "--emulate-scale: value 2 is too large, at most 1 allowed");
  check_usage({"record", "j", "--step", "-1"}, "--step: value -1 is too small, at least 0 allowed");
  check_usage({"logs", "--level", "warn"}, "--level: unknown value \"warn\"; did you mean \"warning\"?");
  check_usage({"invite", "--valid", "soon"},
              "--valid: value \"soon\" is no length of time: a number and s, m, h or d, as in 24h");
  check_usage({"invite", "--valid", "0h"}, "--valid: value 0h is too small, at least 1s allowed");
  check_usage({"invite", "--valid", "366d"}, "--valid: value 366d is too large, at most 365d allowed");
  check_usage(
      {"invite", "--valid", "99999999999999999d"},
      "--valid: value \"99999999999999999d\" is no length of time: a number and s, m, h or d, as in 24h");
  check_usage({"admit", "x", "--as", "nod"}, "--as: unknown value \"nod\"; did you mean \"node\"?");
  check_usage({"logs", "--level", "x"}, "--level: unknown value \"x\"; one of debug, info, warning, error");
  check_usage({"export", "j", "--out", "m", "--precision", "bfloat"},
              "--precision: unknown value \"bfloat\"; did you mean \"bfloat16\"?");
}

TEST_CASE("Command line: what is missing is named") {
  CHECK(run_line({"submit"}).status == exit_usage);
  CHECK(run_line({"submit"}).error.find("job is required") != std::string::npos);
  CHECK(run_line({"solo"}).error.find("JOB.json or --replay RECORD") != std::string::npos);
  CHECK(run_line({"daemon"}).error.find("--config") != std::string::npos);
  CHECK(run_line({"export", "job-1"}).error.find("--out") != std::string::npos);
  CHECK(run_line({"up", "--emulate-scale", "0.5"}).error.find("requires --emulate") != std::string::npos);
}

TEST_CASE("Command line: no operator config says how to get one") {
  const Outcome outcome = run_line({"jobs", "--config", "nowhere/operator.json"});
  CHECK(outcome.status == exit_failed);
  CHECK(outcome.error.find("nowhere/operator.json: no such operator config") != std::string::npos);
  CHECK(outcome.error.find("--config or $SIDESTEP_CONFIG") != std::string::npos);
}

TEST_CASE("Command line: a bad job file is refused before anybody is asked") {
  const Outcome outcome = run_line({"submit", "nowhere.json", "--config", "nowhere/operator.json"});
  CHECK(outcome.status == exit_failed);
  CHECK(outcome.error.find("nowhere.json: cannot be read") != std::string::npos);
}

TEST_CASE("Command line: solo gets its flags, and its status is the program's") {
  SoloRequest seen;
  Wiring wiring;
  wiring.solo = [&](const SoloRequest& request) {
    seen = request;
    return 7;
  };
  CHECK(run_line({"solo", "job.json", "--replay", "a.record", "--threads", "2", "--json"}, wiring).status ==
        7);
  CHECK(seen.job == "job.json");
  CHECK(seen.replay == "a.record");
  CHECK(seen.threads == 2);
  CHECK(seen.json);
}

TEST_CASE("Command line: export gets its flags, and its status is the program's") {
  ExportRequest seen;
  Wiring wiring;
  wiring.export_job = [&](const ExportRequest& request) {
    seen = request;
    return 7;
  };
  CHECK(run_line({"export", "job-1", "--out", "m", "--precision", "bfloat16", "--config", "c.json", "--json"},
                 wiring)
            .status == 7);
  CHECK(seen.job == "job-1");
  CHECK(seen.out == "m");
  CHECK(seen.precision == "bfloat16");
  CHECK(seen.config == "c.json");
  CHECK(seen.json);
}

TEST_CASE("Command line: generate gets its flags, and its status is the program's") {
  GenerateRequest seen;
  Wiring wiring;
  wiring.generate = [&](const GenerateRequest& request) {
    seen = request;
    return 7;
  };
  CHECK(run_line({"generate", "--model", "m"}, wiring).status == 7);
  CHECK(seen.model == "m");
  CHECK_FALSE(seen.max_tokens.has_value());
  CHECK(seen.temperature == 0.8);
  CHECK(seen.samples == 1);
  CHECK(run_line({"generate", "--job", "job-1", "--config", "c.json"}, wiring).status == 7);
  CHECK(seen.job == "job-1");
  CHECK(seen.config == "c.json");
  CHECK(run_line({"generate", "--model",       "m",   "--prompt-tokens", "1,2,3",    "--max-tokens",
                  "9",        "--temperature", "0",   "--top-k",         "40",       "--top-p",
                  "0.9",      "--seed",        "5",   "--samples",       "2",        "--stages",
                  "6",        "--skip-stages", "2,3", "--precision",     "bfloat16", "--threads",
                  "2",        "--device",      "cpu", "--json"},
                 wiring)
            .status == 7);
  CHECK(seen.prompt_tokens == std::vector<std::int64_t>{1, 2, 3});
  CHECK(seen.max_tokens == 9);
  CHECK(seen.temperature == 0);
  CHECK(seen.top_k == 40);
  CHECK(seen.top_p == 0.9);
  CHECK(seen.seed == 5);
  CHECK(seen.samples == 2);
  CHECK(seen.stages == 6);
  CHECK(seen.skip_stages == std::vector<std::int64_t>{2, 3});
  CHECK(seen.precision == "bfloat16");
  CHECK(seen.threads == 2);
  CHECK(seen.json);
  CHECK(
      run_line({"generate", "--model", "m", "--perplexity", "f", "--sequence-length", "64"}, wiring).status ==
      7);
  CHECK(seen.perplexity == "f");
  CHECK(seen.sequence_length == 64);
}

TEST_CASE("Command line: generate refuses what does not go together or is out of range") {
  CHECK(run_line({"generate"}).error.find("[Option Group: model]") == std::string::npos);
  CHECK(run_line({"generate"}).status == exit_usage);
  CHECK(run_line({"generate", "--model", "m", "--job", "job-1"}).status == exit_usage);
  check_usage({"generate", "--model", "m", "--top-p", "1.5"},
              "--top-p: value 1.5 is too large, at most 1 allowed");
  check_usage({"generate", "--model", "m", "--temperature", "-1"},
              "--temperature: value -1 is too small, at least 0 allowed");
  check_usage({"generate", "--model", "m", "--temperature", "nan"},
              "--temperature: value \"nan\" is not a number");
  check_usage({"generate", "--model", "m", "--temperature", "warm"},
              "--temperature: value \"warm\" is not a number");
  check_usage({"generate", "--model", "m", "--skip-stages", "1,x"},
              "--skip-stages: value \"x\" is not a whole number");
  check_usage({"generate", "--model", "m", "--precision", "float16"},
              "--precision: unknown value \"float16\"; did you mean \"bfloat16\"?");
  for (const char* other : {"--prompt-file", "--prompt-tokens", "--perplexity"}) {
    const Outcome outcome = run_line({"generate", "--model", "m", "--prompt", "x", other, "1"});
    CHECK(outcome.status == exit_usage);
    CHECK(outcome.error.find("excludes") != std::string::npos);
  }
  CHECK(
      run_line({"generate", "--model", "m", "--sequence-length", "8"}).error.find("requires --perplexity") !=
      std::string::npos);
}

TEST_CASE("Nearest: a beginning, a slip, nothing near") {
  CHECK(scheduler::nearest("warn", {"error", "warning"}) == "warning");
  CHECK(scheduler::nearest("nods", {"logs", "nodes"}) == "nodes");
  CHECK(scheduler::nearest("elephant", {"logs", "nodes"}).empty());
}

}  // namespace sidestep::cli

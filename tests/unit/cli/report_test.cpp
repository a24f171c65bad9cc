#include "daemon/cli/report.h"

#include <catch2/catch.hpp>

namespace sidestep::cli {

TEST_CASE("Duration: seconds, minutes, hours") {
  CHECK(duration(0) == "0s");
  CHECK(duration(7.4) == "7s");
  CHECK(duration(59.6) == "1m00s");
  CHECK(duration(100) == "1m40s");
  CHECK(duration(7300) == "2h01m");
  CHECK(duration(-3) == "0s");
}

TEST_CASE("Amount: short above a thousand") {
  CHECK(amount(312) == "312");
  CHECK(amount(18312) == "18.3k");
  CHECK(amount(2.5e6) == "2.5M");
}

TEST_CASE("Table: columns as wide as their widest cell, no spaces at line ends") {
  CHECK(table({"A", "LONG"}, {{"wider", "x"}, {"y", ""}}) == "A      LONG\nwider  x\ny\n");
}

TEST_CASE("Progress line: what is known, in order") {
  nlohmann::json summary = {{"state", "running"}, {"commit", 120}, {"steps", 400}, {"loss", 2.3144}};
  CHECK(progress_line(summary) == "step 120/400  loss 2.3144");
  summary["validation_loss"] = 2.401;
  summary["tokens_per_s"] = 18312.0;
  summary["eta_s"] = 100;
  CHECK(progress_line(summary) == "step 120/400  loss 2.3144  validation 2.4010  18.3k tokens/s  ETA 1m40s");
  summary["skipped_updates"] = 3;
  CHECK(progress_line(summary) ==
        "step 120/400  loss 2.3144  validation 2.4010  18.3k tokens/s  3 without update  ETA 1m40s");
}

TEST_CASE("Progress line: nothing committed, nulls, and the step after the last update") {
  CHECK(progress_line(
            {{"state", "queued"}, {"commit", nullptr}, {"steps", 400}, {"loss", 0}, {"eta_s", nullptr}}) ==
        "step 0/400");
  CHECK(progress_line({{"state", "running"}, {"commit", 401}, {"steps", 400}}) == "step 400/400");
}

TEST_CASE("Outcome line: a failure has its reason and the last commit") {
  CHECK(outcome_line({{"id", "a-1"},
                      {"state", "failed"},
                      {"reason", "node x is lost"},
                      {"commit", 12},
                      {"steps", 40}}) == "job a-1 failed: node x is lost (last commit: step 12 of 40)");
  CHECK(outcome_line(
            {{"id", "a-1"}, {"state", "cancelled"}, {"reason", ""}, {"commit", nullptr}, {"steps", 40}}) ==
        "job a-1 cancelled (nothing was committed)");
  CHECK(outcome_line({{"id", "a-1"},
                      {"state", "done"},
                      {"reason", "its last state is not saved whole: stage 1: disk full"},
                      {"commit", 40},
                      {"steps", 40},
                      {"started_us", 0},
                      {"ended_us", 5'000'000}}) ==
        "job a-1 done after 5s: step 40/40; warning: its last state is not saved whole: stage 1: disk full");
}

TEST_CASE("Log line: time, level, node and stage, text") {
  const std::string line = log_line({{"time_us", 1'700'000'000'123'456},
                                     {"level", "warning"},
                                     {"node", std::string(64, 'a')},
                                     {"nickname", "node-3"},
                                     {"stage", 2},
                                     {"text", "slow link"}});
  CHECK(line.substr(8) == ".123 WARNING node-3/stage 2  slow link");
  const std::string nameless =
      log_line({{"level", "info"}, {"node", "abcdef"}, {"stage", nullptr}, {"text", "x"}});
  CHECK(nameless.substr(12) == " INFO    abcd  x");
}

}  // namespace sidestep::cli

#include "daemon/cli/status_report.h"

#include <catch2/catch.hpp>

namespace sidestep::cli {
namespace {

using nlohmann::json;

json snapshot() {
  return json::parse(R"({
    "job": {"id": "j-1", "state": "running", "precision": "bfloat16", "predicted_step_s": 0.4124,
            "measured_step_s": 0.6, "drifted": true, "commit": 3, "steps": 9, "loss": 1.5,
            "recovery": {"policy": "checkfree", "outlook": "stage 1 would be rebuilt"}, "recovered": 2,
            "stages": [["A"], ["A", "B"]]},
    "nodes": [{"key": "A", "nickname": "attic", "state": "alive", "activity": "step 4: waits for Commit"},
              {"key": "B", "nickname": "barn", "state": "silent", "silent_ms": 2100}],
    "waiting": "stage 1 of microbatch 2", "view": 4, "term": 1,
    "routes": [{"microbatches": [0, 2], "hops": [[0, "A"], [1, "B"]]},
               {"microbatches": [1, 3, 4, 5, 6, 7, 8], "hops": [[0, "A"], [1, "A"]]}],
    "measured": [{"node": "B", "stages": [{"stage": 1, "forward_us": 5250, "backward_us": 0}], "head_us": 700,
                  "averaging_bytes_per_s": 3e6}],
    "links": [{"from": "A", "to": "B", "latency_us": 400, "bytes_per_s": 2e6, "transfer_us": 900},
              {"from": "B", "to": "A", "latency_us": 60000, "bytes_per_s": 1e9, "transfer_us": 61000}],
    "changes": [{"time_us": 0, "level": "info", "nickname": "scheduler", "stage": null, "text": "plan 2"}],
    "jobs": [{"id": "j-1", "state": "running"}, {"id": "k-2", "state": "queued"}]})");
}

bool has(const std::string& page, const std::string& text) { return page.find(text) != std::string::npos; }

}  // namespace

TEST_CASE("Status page: the job, its plan, what is waited for, links, nodes and changes") {
  const std::string page = status_page(snapshot());
  INFO(page);
  CHECK(has(page, "job j-1: running  step 3/9  loss 1.5000"));
  CHECK(has(page,
            "\nprecision: bfloat16\npredicted step: 412 ms; measured: 600 ms, which is far apart\n"
            "recovery (checkfree): stage 1 would be rebuilt; stages were rebuilt 2 times so far\n"));
  CHECK(has(page, "waits: stage 1 of microbatch 2\n"));
  CHECK(has(page, "0      1         attic\n"));
  CHECK(has(page, "1      2         attic, barn\n"));
  CHECK(has(page, "2: 0, 2                   0 attic > 1 barn\n"));
  CHECK(has(page, "7: 1, 3, 4, 5, 6, 7, ...  0 attic > 1 attic\n"));
  CHECK(has(page, "barn   attic  60 ms    1000.0MB/s  61 ms\nattic  barn   0.4 ms   2.0MB/s     0.9 ms\n"));
  CHECK(has(page, "barn  1      5.2 ms   -         -     3.0MB/s\n"));
  CHECK(has(page, "silent 2s"));
  CHECK(has(page, "scheduler  plan 2\n"));
  CHECK(has(page, "view 4, scheduler term 1"));
}

TEST_CASE("Status page: no job yet, and a job whose figures are not known") {
  CHECK(status_page({{"job", nullptr}, {"nodes", json::array()}, {"waiting", ""}}).find("no job yet") == 0);
  json bare = snapshot();
  for (const char* key : {"routes", "measured", "links", "changes"}) bare.erase(key);
  bare["job"]["measured_step_s"] = nullptr;
  bare["job"]["drifted"] = false;
  const std::string page = status_page(bare);
  CHECK(has(page, "predicted step: 412 ms\n"));
  CHECK_FALSE(has(page, "ROUTE"));
  CHECK_FALSE(has(page, "LATENCY"));
  CHECK_FALSE(has(page, "CHANGES"));
  bare["job"]["predicted_step_s"] = nullptr;
  CHECK_FALSE(has(status_page(bare), "predicted"));
}

TEST_CASE("Status page: a stage that nobody holds is told as such") {
  json lost = snapshot();
  lost["job"]["stages"][1] = json::array();
  CHECK(has(status_page(lost), "1      0         nobody: routes go around it\n"));
}

TEST_CASE("Status page: of many routes and links the first, and how many more there are") {
  json many = snapshot();
  for (int i = 0; i < 30; ++i) {
    many["routes"].push_back(json::parse(R"({"microbatches": [5], "hops": [[0, "A"]]})"));
    many["links"].push_back(
        {{"from", "A"}, {"to", "B"}, {"latency_us", i}, {"bytes_per_s", 1}, {"transfer_us", i}});
  }
  const std::string page = status_page(many);
  CHECK(has(page, "... and 20 more routes\n"));
  CHECK(has(page, "... and 12 more links, all faster\n"));
}

TEST_CASE("Cut: so many characters, whatever they take in bytes") {
  CHECK(cut("abc", 0) == "abc");
  CHECK(cut("abc", 3) == "abc");
  CHECK(cut("abcd", 3) == "ab\u2026");
  CHECK(cut("\u00e4\u00f6\u00fc", 3) == "\u00e4\u00f6\u00fc");
  CHECK(cut("\u00e4\u00f6\u00fcx", 3) == "\u00e4\u00f6\u2026");
  CHECK(cut("abcd", 1) == "\u2026");
}

TEST_CASE("Top: all that matters of a running job, the queue too") {
  const std::string page = top_page(snapshot(), {});
  INFO(page);
  CHECK(page.find("sidestep top: view 4, scheduler term 1\njob j-1: running") == 0);
  for (const char* text : {"measured: 600 ms", "waits: stage 1", "queued: k-2\n", "step 4: waits for Commit",
                           "STAGE", "LAST CHANGES", "BANDWIDTH"})
    CHECK(has(page, text));
  CHECK(has(top_page(snapshot(), {}, "this was 4s ago: no answer"),
            "term 1\nthis was 4s ago: no answer\njob j-1: running"));
}

TEST_CASE("Top: no line is longer and no page higher than the terminal") {
  json wide = snapshot();
  wide["nodes"][0]["nickname"] = std::string(300, 'n');
  for (const std::size_t columns : {1u, 20u, 80u})
    for (const std::size_t rows : {1u, 2u, 10u, 24u}) {
      const std::string page = top_page(wide, {columns, rows});
      std::size_t lines = 0;
      for (std::size_t begin = 0; begin < page.size(); ++lines) {
        const std::size_t end = page.find('\n', begin);
        REQUIRE(end != std::string::npos);
        CHECK(cut(page.substr(begin, end - begin), columns) == page.substr(begin, end - begin));
        begin = end + 1;
      }
      CHECK(lines <= rows);
    }
  CHECK(has(top_page(wide, {80, 5}), "more lines; `sidestep status` shows all\n"));
}

}  // namespace sidestep::cli

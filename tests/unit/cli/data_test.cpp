// sidestep data check, from the line to what is printed.
#include <catch2/catch.hpp>

#include "daemon/cli/app.h"
#include "tests/unit/cli/command.h"
#include "tests/unit/data/text_fixture.h"

namespace sidestep::cli {
namespace {

using daemon::testing::TextFolder;

using testing::Outcome;
using testing::run_line;

}  // namespace

TEST_CASE("data check: text by pieces, as JSON") {
  const TextFolder folder;
  const std::string text = folder.write("a.txt", daemon::testing::sample_text(80));
  const std::string model = folder.write("t.model", daemon::testing::tiny_model());
  const Outcome outcome =
      run_line({"data", "check", text, "--tokenizer", model, "--sequence-length", "16", "--json"});
  CHECK(outcome.error.empty());
  REQUIRE(outcome.status == exit_ok);
  const auto report = nlohmann::json::parse(outcome.output);
  CHECK(report["vocab_size"] == 120);
  CHECK(report["tokens"] < report["bytes"]);
  CHECK(report["first"]["tokens"].size() == 16);
  const std::string first_word = daemon::testing::sample_text(1).substr(0, 4);
  CHECK_THAT(report["first"]["text"].get<std::string>(), Catch::StartsWith(first_word));
  CHECK(report["held_out"]["tokens"].size() == 16);
}

TEST_CASE("data check: what is wrong with the file is its answer") {
  const TextFolder folder;
  const std::string path = folder.write("a.jsonl", "{\"text\": 1}\n");
  const Outcome outcome = run_line({"data", "check", path});
  CHECK(outcome.status == exit_failed);
  CHECK(outcome.error ==
        "sidestep: " + path + ":1: key \"text\" (\"data.field\") holds no string but number\n");
}

TEST_CASE("data check: an unknown word is answered with the nearest known one") {
  CHECK(run_line({"data", "chekc"}).error == "unknown command \"chekc\"; did you mean \"check\"?\n");
  CHECK(run_line({"data", "check", "f", "--vocab"}).error ==
        "unknown flag \"--vocab\"; did you mean \"--vocab-size\"?\n");
  CHECK(run_line({"data"}).status == exit_usage);
}

}  // namespace sidestep::cli

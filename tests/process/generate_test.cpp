// `sidestep generate` on a model that knows nothing: all its weights are 0, every byte is as likely as
// another.
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>

#include "net/utf8.h"
#include "tests/process/model_fixture.h"
#include "tests/process/swarm_fixture.h"

namespace sidestep::testing {
namespace {

Finished generate(const std::string& model, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"generate", "--model", model});
  return run(arguments, Seconds(30));
}

}  // namespace

TEST_CASE("Generate: samples follow the prompt, and the seed gives them again") {
  const TemporaryFolder folder;
  const std::string model = write_model(folder);
  const std::vector<std::string> line{"--prompt", "Begin: ", "--max-tokens", "20", "--seed", "3"};
  const Finished text = generate(model, line);
  INFO(text.error);
  REQUIRE(text.status == 0);
  CHECK(text.output.starts_with("Begin: "));
  CHECK(net::is_utf8(text.output));
  CHECK(text.error.find("20 tokens") != std::string::npos);
  CHECK(generate(model, line).output == text.output);

  std::vector<std::string> as_json = line;
  as_json.insert(as_json.end(), {"--json", "--skip-stages", "1,2"});
  const Finished reported = generate(model, as_json);
  INFO(reported.error);
  REQUIRE(reported.status == 0);
  const auto json = nlohmann::json::parse(reported.output);
  CHECK(json.at("tokens").size() == 20);
  CHECK(json.at("end") == "length");
  // Stages that are left out of a model of nothing change nothing.
  CHECK("Begin: " + json.at("text").get<std::string>() + "\n" == text.output);

  write_text(folder / "prompt", "Begin: ");
  CHECK(generate(model, {"--prompt-file", folder / "prompt", "--max-tokens", "20", "--seed", "3"}).output ==
        text.output);
  // Of equal logits the first.
  CHECK(generate(model, {"--prompt-tokens", "7,8", "--max-tokens", "3", "--temperature", "0"}).output ==
        "0,0,0\n");
}

TEST_CASE("Generate: a model that knows nothing is perplexed by all of its vocabulary") {
  const TemporaryFolder folder;
  const std::string model = write_model(folder);
  write_text(folder / "text", std::string(101, 'x'));
  const Finished measured = generate(model, {"--perplexity", folder / "text", "--json"});
  INFO(measured.error);
  REQUIRE(measured.status == 0);
  const auto json = nlohmann::json::parse(measured.output);
  CHECK(json.at("tokens") == 100);
  CHECK(json.at("sequence_length") == 32);
  CHECK(json.at("perplexity").get<double>() == Approx(256).epsilon(1e-5));
  CHECK(json.at("loss").get<double>() == Approx(std::log(256)).epsilon(1e-5));
}

TEST_CASE("Generate: what cannot be done is said with the reason, and ends with status 1") {
  const TemporaryFolder folder;
  const std::string model = write_model(folder);
  struct Row {
    std::vector<std::string> arguments;
    std::string message;
  };
  const std::string config = model + "/config.json";
  const std::vector<Row> rows{
      {{"--prompt", "abc", "--max-tokens", "30"},
       "the prompt has 3 tokens and --max-tokens asks for 30 more; \"max_position_embeddings\" in " + config +
           " allows 32 together"},
      {{"--prompt-tokens", "3,256"}, "token 256 of the prompt is outside the model's 256 tokens"},
      {{"--skip-stages", "0"}, "--skip-stages: stage 0 cannot be left out"},
      {{"--skip-stages", "3"}, "--skip-stages: there is no stage 3; there are 3 stages, 0 to 2"},
      {{"--device", "tpu"}, "--device: \"tpu\" is no device; allowed: \"cpu\" and \"cuda:0\""},
      {{"--prompt-file", folder / "none"}, "none cannot be read"},
      {{"--perplexity", folder / "none"}, folder / "none"},
      {{"--perplexity", config, "--sequence-length", "33"},
       "--sequence-length: value 33 is too large, \"max_position_embeddings\" in " + config + " allows 32"},
  };
  for (const Row& row : rows) {
    const Finished outcome = generate(model, row.arguments);
    INFO(outcome.error);
    CHECK(outcome.status == 1);
    CHECK(outcome.error.find(row.message) != std::string::npos);
  }
  const Finished missing = generate(folder / "nowhere", {});
  CHECK(missing.status == 1);
  CHECK(missing.error.find("nowhere: is not a folder") != std::string::npos);
}

TEST_CASE("Generate: from an ended job's weights, whose export is gone when it ends, also on a full disk") {
  LocalSwarm swarm(2);
  const auto submit = swarm.submit(small_job(swarm.folder(), "tiny", 2, 3));
  const auto ended = submit->wait_exit(Seconds(60));
  INFO(submit->output() << submit->error() << swarm.logs());
  REQUIRE(ended == 0);
  const std::string scratch = swarm.folder() / "scratch";
  std::filesystem::create_directory(scratch);
  const std::vector<std::string> line{"generate", "--job",    "tiny-1",
                                      "--prompt", "the ",     "--max-tokens",
                                      "5",        "--config", swarm.operator_config()};
  const ProcessOptions options{{}, {"TMPDIR=" + scratch}};
  const Finished made = run(line, Seconds(60), options);
  INFO(made.output << made.error);
  CHECK(made.status == 0);
  CHECK(made.output.starts_with("the "));
  CHECK(made.error.find("5 tokens") != std::string::npos);
  CHECK(std::filesystem::is_empty(scratch));

  ProcessOptions full = options;
  full.prefix = {"sh", "-c", "exec \"$@\" >/dev/full", "sh"};
  const Finished failed = run(line, Seconds(60), full);
  INFO(failed.error);
  CHECK(failed.status == 1);
  CHECK(failed.error.find("standard output cannot be written: No space left on device") != std::string::npos);
  CHECK(std::filesystem::is_empty(scratch));

  // The folder itself as the place: the stages on their way are beside it, not in it.
  const std::string here = swarm.folder() / "here";
  std::filesystem::create_directory(here);
  for (const std::string& place : {here + "/.", here + "/./", here + "/"}) {
    const Finished exported = swarm.ask({"export", "tiny-1", "--out", place});
    INFO(place << ": " << exported.error);
    CHECK(exported.status == 0);
    CHECK(std::filesystem::exists(here + "/config.json"));
  }
}

}  // namespace sidestep::testing

// What a folder says of its stages and of its text.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "daemon/data/hf_export.h"
#include "daemon/generate/model_text.h"
#include "daemon/generate/stage_cut.h"
#include "tests/unit/data/text_fixture.h"

namespace sidestep::daemon {
namespace {

using namespace testing;
using Tokens = std::vector<std::int64_t>;

// A folder whose weights nobody reads.
HfFolder folder_with(const TextFolder& place, std::int64_t vocab_size, const ExportNotes& notes = {}) {
  scheduler::ModelSpec model;
  model.vocab_size = vocab_size;
  model.hidden_size = 8;
  model.intermediate_size = 8;
  model.num_hidden_layers = 6;
  model.num_attention_heads = model.num_key_value_heads = 2;
  model.head_dim = 4;
  model.max_position_embeddings = 16;
  const Status written = write_hf_folder(place.path("m"), model, {{.name = "a", .shape = {1}}},
                                         [](const TensorInfo&) -> Result<net::Payload> {
                                           return net::Payload::from_bytes(std::vector<std::byte>(4));
                                         },
                                         {.notes = notes});
  INFO(written.message());
  REQUIRE(written.ok());
  auto folder = HfFolder::open(place.path("m"));
  INFO(folder.status().message());
  REQUIRE(folder.ok());
  return folder.value();
}

std::string cut_problem(const HfFolder& folder, std::optional<std::int64_t> stages,
                        const std::vector<std::int64_t>& skipped) {
  return cut_stages(folder, stages, skipped).status().message();
}

// Writes a key of the folder's config.json and opens it again.
HfFolder with_config(const TextFolder& place, const std::string& key, const nlohmann::json& value) {
  nlohmann::json config = nlohmann::json::parse(read_file(place.path("m/config.json")));
  config[key] = value;
  write_bytes(place.path("m/config.json"), config.dump());
  return HfFolder::open(place.path("m")).value();
}

}  // namespace

TEST_CASE("Stage cut: the flag prevails over the export's notes, and without both it is one stage") {
  const TextFolder place;
  CHECK(cut_stages(folder_with(place, 300), {}, {}).value().stages == 1);
  const HfFolder noted = folder_with(place, 300, {.stages = 4, .stage_0_layers = false});
  const StageCut cut = cut_stages(noted, {}, {3, 1}).value();
  CHECK(cut.stages == 4);
  CHECK_FALSE(cut.stage_0_layers);
  CHECK(cut.skipped == std::set<std::int64_t>{1, 3});
  CHECK(cut_stages(noted, 7, {6}).value().stages == 7);
  CHECK(cut_stages(folder_with(place, 300), 6, {5}).value().stage_0_layers);
}

TEST_CASE("Stage cut: what cannot be left out or cut is refused with the reason") {
  const TextFolder place;
  const std::string config = place.path("m") + "/config.json";
  const HfFolder plain = folder_with(place, 300);
  CHECK(cut_problem(plain, 3, {0}) ==
        "--skip-stages: stage 0 cannot be left out, it holds the embedding and the head");
  CHECK(cut_problem(plain, 3, {1, 3}) == "--skip-stages: there is no stage 3; there are 3 stages, 0 to 2");
  CHECK(cut_problem(plain, {}, {1}) == "--skip-stages: " + config +
                                           " does not say into how many stages the model is cut; give "
                                           "--stages");
  CHECK(cut_problem(plain, 4, {}) == "--stages: 6 layers do not divide into 4 stages");
  CHECK(cut_problem(folder_with(place, 300, {.stages = 6, .stage_0_layers = false}), {}, {}) ==
        config +
            ": key \"sidestep.stages\": 6 layers do not divide into 6 stages of which stage 0 holds none");
  CHECK(cut_problem(folder_with(place, 300, {.stages = 1, .stage_0_layers = false}), {}, {}) ==
        config +
            ": key \"sidestep.stages\": 6 layers do not divide into 1 stages of which stage 0 holds none");
}

TEST_CASE("Model text: bytes for a model of 256 tokens, or where an export says so") {
  const TextFolder place;
  const ModelText text = open_model_text(folder_with(place, 256)).value();
  CHECK(text.encode("Hi").value() == Tokens{'H', 'i'});
  CHECK(text.encode("").value() == Tokens{'\n'});
  CHECK(text.ends.empty());
  CHECK(open_model_text(folder_with(place, 300, {.stages = 1, .tokenizer = "bytes"})).value().tokenizer !=
        nullptr);
}

TEST_CASE("Model text: a SentencePiece model in the folder, with its end and its beginning") {
  const TextFolder place;
  HfFolder folder = folder_with(place, 1'000);
  place.write("m/tokenizer.model", tiny_model());
  const auto tokenizer = open_sentencepiece(place.path("m/tokenizer.model")).value();
  ModelText text = open_model_text(folder).value();
  CHECK(text.tokenizer->digest() == tokenizer->digest());
  REQUIRE(tokenizer->separator().has_value());
  CHECK(text.ends == std::set<std::int64_t>{*tokenizer->separator()});
  CHECK(text.encode("").value() == Tokens{*tokenizer->separator()});
  scheduler::DataSpec spec;
  REQUIRE(use_tokenizer_of(folder, text, spec).ok());
  CHECK(spec.tokenizer == "sentencepiece");
  CHECK(spec.tokenizer_path == place.path("m/tokenizer.model"));

  place.write("m/tokenizer_config.json", R"({"add_bos_token": true})");
  CHECK(open_model_text(folder).value().begin.empty());  // config.json names none
  folder = with_config(place, "bos_token_id", 7);
  text = open_model_text(folder).value();
  CHECK(text.encode("").value() == Tokens{7});
  CHECK(text.encode("a").value().front() == 7);
  folder = with_config(place, "eos_token_id", {8, 9});
  CHECK(open_model_text(folder).value().ends == std::set<std::int64_t>{*tokenizer->separator(), 8, 9});
}

TEST_CASE("Model text: a folder without a tokenizer that is read says what can be done") {
  const TextFolder place;
  const HfFolder folder = folder_with(place, 300);
  const std::string path = place.path("m");
  CHECK(open_model_text(folder).value().encode("x").status().message() ==
        path +
            ": has no tokenizer, and its model is not of bytes (vocab_size 300); put its tokenizer.model "
            "there, or give token numbers, --prompt-tokens 1,2,3");
  place.write("m/tokenizer.json", "{}");
  const ModelText text = open_model_text(folder).value();
  const std::string expected = path +
                               ": has a tokenizer.json and no tokenizer.model; text cannot be encoded here. "
                               "Give the prompt's token numbers, --prompt-tokens 1,2,3";
  CHECK(text.encode("x").status().message() == expected);
  scheduler::DataSpec spec;
  CHECK(use_tokenizer_of(folder, text, spec).message() == expected);
  place.write("m/tokenizer.model", "junk");
  CHECK_THAT(open_model_text(folder).status().message(), Catch::StartsWith(path + "/tokenizer.model: "));
  place.write("m/tokenizer.model", tiny_model());
  const HfFolder small = with_config(place, "vocab_size", 20);
  CHECK_THAT(open_model_text(small).status().message(),
             Catch::StartsWith(path + ": its tokenizer has ") &&
                 Catch::EndsWith(" tokens, \"vocab_size\" in config.json is 20"));
}

TEST_CASE("Export notes: written beside the model and read back, garbage is named") {
  const TextFolder place;
  CHECK(folder_with(place, 300).notes().stages == 0);
  CHECK_FALSE(nlohmann::json::parse(read_file(place.path("m/config.json"))).contains("sidestep"));
  const HfFolder folder =
      folder_with(place, 300, {.stages = 3, .stage_0_layers = true, .tokenizer = "sentencepiece"});
  CHECK(folder.notes().stages == 3);
  CHECK(folder.notes().stage_0_layers);
  CHECK(folder.notes().tokenizer == "sentencepiece");
  const auto problem = [](const nlohmann::json& notes) {
    return parse_export_notes({{"sidestep", notes}}, "config.json").status().message();
  };
  CHECK(problem({{"stages", 0}}) ==
        "config.json: key \"sidestep.stages\": value 0 is too small, at least 1 allowed");
  CHECK(problem({{"stages", "six"}}) ==
        "config.json: key \"sidestep.stages\": must be a whole number, found the string \"six\"");
  CHECK(problem({{"later", 1}}).empty());
}

}  // namespace sidestep::daemon

#include "daemon/data/hf_config.h"

#include <catch2/catch.hpp>

#include "scheduler/options.h"

namespace sidestep::daemon {
namespace {

// As transformers 4 writes one.
nlohmann::json config() {
  return nlohmann::json::parse(R"({
    "architectures": ["LlamaForCausalLM"], "attention_bias": false, "bos_token_id": 1, "eos_token_id": 2,
    "hidden_act": "silu", "hidden_size": 64, "initializer_range": 0.01, "intermediate_size": 172,
    "max_position_embeddings": 512, "model_type": "llama", "num_attention_heads": 4, "num_hidden_layers": 3,
    "num_key_value_heads": 2, "pad_token_id": null, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
    "rope_scaling": null, "rope_theta": 500000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
    "transformers_version": "4.44.0", "use_cache": true, "vocab_size": 1000})");
}

nlohmann::json changed(const std::string& pointer, const nlohmann::json& value) {
  nlohmann::json json = config();
  json[nlohmann::json::json_pointer(pointer)] = value;
  return json;
}

scheduler::ModelSpec parsed(const nlohmann::json& json) {
  const auto model = parse_hf_config(json, "config.json");
  INFO(model.status().message());
  REQUIRE(model.ok());
  return model.value();
}

std::string config_problem(const nlohmann::json& json) {
  return parse_hf_config(json, "config.json").status().message();
}

}  // namespace

TEST_CASE("Hugging Face config: every field reaches the model, defaults are transformers'") {
  const scheduler::ModelSpec model = parsed(config());
  CHECK(model.vocab_size == 1000);
  CHECK(model.hidden_size == 64);
  CHECK(model.intermediate_size == 172);
  CHECK(model.num_hidden_layers == 3);
  CHECK(model.num_attention_heads == 4);
  CHECK(model.num_key_value_heads == 2);
  CHECK(model.head_dim == 16);
  CHECK(model.max_position_embeddings == 512);
  CHECK(model.rms_norm_eps == 1e-5);
  CHECK(model.rope_theta == 500'000);
  CHECK(model.initializer_range == 0.01);
  CHECK(model.tie_word_embeddings);

  nlohmann::json small = config();
  for (const char* key : {"num_key_value_heads", "rms_norm_eps", "rope_theta", "initializer_range",
                          "tie_word_embeddings", "torch_dtype", "architectures"})
    small.erase(key);
  const scheduler::ModelSpec defaults = parsed(small);
  CHECK(defaults.num_key_value_heads == 4);
  CHECK(defaults.rms_norm_eps == 1e-6);
  CHECK(defaults.rope_theta == 10'000);
  CHECK(defaults.initializer_range == 0.02);
  CHECK_FALSE(defaults.tie_word_embeddings);
}

TEST_CASE("Hugging Face config: rope settings under the names of transformers 4 and 5") {
  CHECK(parsed(changed("/head_dim", 24)).head_dim == 24);
  CHECK(parsed(changed("/rope_parameters", {{"rope_type", "default"}, {"rope_theta", 77.0}})).rope_theta ==
        77);
  CHECK(parsed(changed("/rope_scaling", {{"rope_type", "default"}})).rope_theta == 500'000);
}

TEST_CASE("Hugging Face config: a model that is computed otherwise is refused by name and value") {
  struct Row {
    std::string pointer;
    nlohmann::json value;
    std::string message;
  };
  const std::vector<Row> rows{
      {"/model_type", "mistral", "key \"model_type\": value \"mistral\" is not known; allowed: \"llama\""},
      {"/architectures",
       {"LlamaForSequenceClassification"},
       "key \"architectures\": [\"LlamaForSequenceClassification\"] is not available in this version; only "
       "[\"LlamaForCausalLM\"] is"},
      {"/rope_scaling",
       {{"rope_type", "llama3"}, {"factor", 8.0}},
       "key \"rope_scaling.rope_type\": the string \"llama3\" is not available in this version; only "
       "\"default\" is"},
      {"/rope_scaling",
       {{"type", "linear"}, {"factor", 2.0}},
       "key \"rope_scaling.type\": the string \"linear\" is not available in this version; only \"default\" "
       "is"},
      {"/rope_parameters",
       {{"rope_type", "yarn"}},
       "key \"rope_parameters.rope_type\": value \"yarn\" is not known; allowed: \"default\""},
      {"/partial_rotary_factor", 0.5,
       "key \"partial_rotary_factor\": 0.5 is not available in this version; only 1 is"},
      {"/attention_bias", true,
       "key \"attention_bias\": true is not available in this version; only false is"},
      {"/mlp_bias", true, "key \"mlp_bias\": true is not available in this version; only false is"},
      {"/attention_dropout", 0.1,
       "key \"attention_dropout\": 0.1 is not available in this version; only 0 is"},
      {"/hidden_act", "gelu",
       "key \"hidden_act\": the string \"gelu\" is not available in this version; only \"silu\" is"},
      {"/quantization_config",
       {{"bits", 4}},
       "key \"quantization_config\": an object is not available in this version; only null is"},
      {"/torch_dtype", "float8",
       "key \"torch_dtype\": value \"float8\" is not known; allowed: \"float32\", \"bfloat16\" and "
       "\"float16\""},
      {"/hidden_size", -1, "key \"hidden_size\": value -1 is too small, at least 1 allowed"},
      {"/hidden_size", 66,
       "key \"hidden_size\": 66 does not divide by 4 heads, and there is no \"head_dim\""},
      {"/head_dim", 15, "key \"head_dim\": value 15 is odd; the rotary embedding needs an even one"},
      {"/num_key_value_heads", 3,
       "key \"num_attention_heads\": 4 heads do not divide by 3 key and value heads"},
      {"/vocab_size", nullptr, "missing key \"vocab_size\": tokens in the vocabulary"},
  };
  for (const Row& row : rows) {
    INFO(row.pointer);
    CHECK(config_problem(changed(row.pointer, row.value)) == "config.json: " + row.message);
  }
  CHECK(config_problem(nlohmann::json::array()) == "config.json: must be a JSON object, found a list");
}

TEST_CASE("Hugging Face config: what is written gives the same model again") {
  scheduler::ModelSpec model = parsed(changed("/head_dim", 32));
  const nlohmann::json written = hf_config(model, "bfloat16");
  CHECK(written.at("architectures") == nlohmann::json{"LlamaForCausalLM"});
  CHECK(written.at("torch_dtype") == "bfloat16");
  CHECK(written.at("eos_token_id").is_null());
  CHECK(compare_models(model, parsed(written), "config.json").ok());
  CHECK(parsed(written).max_position_embeddings == 512);
  CHECK(parsed(written).initializer_range == 0.01);
}

TEST_CASE("Hugging Face config: fields in which a job differs are named, all of them") {
  const scheduler::ModelSpec stored = parsed(config());
  scheduler::ModelSpec job = stored;
  job.max_position_embeddings = 64;
  job.initializer_range = 0.5;
  CHECK(compare_models(job, stored, "m/config.json").ok());
  job.rope_theta = 10'000;
  job.num_key_value_heads = 4;
  CHECK(compare_models(job, stored, "m/config.json").message() ==
        "job key \"model.num_key_value_heads\": value 4, m/config.json has 2\n"
        "job key \"model.rope_theta\": value 10000.0, m/config.json has 500000.0");
}

}  // namespace sidestep::daemon

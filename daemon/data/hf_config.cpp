#include "daemon/data/hf_config.h"

#include <algorithm>
#include <vector>

#include "scheduler/options.h"

namespace sidestep::daemon {
namespace {

using scheduler::ModelSpec;
using scheduler::OptionTable;
using scheduler::Problems;

constexpr const char* architecture = "LlamaForCausalLM";

struct Config {
  ModelSpec model{.vocab_size = 0};
  std::string model_type = "llama";
  std::string dtype = "float32";
  std::string rope_type = "default";
};

// Where transformers 4 and 5 name a setting differently, both names lead to one field; 5's come second and so
// prevail. Ranges are a job's.
OptionTable config_table(Config& config) {
  OptionTable table;
  ModelSpec& model = config.model;
  table.add("model_type", config.model_type, "kind of model").required().one_of({"llama"});
  table.add("vocab_size", model.vocab_size, "tokens in the vocabulary").required().range(2, 1 << 24);
  table.add("hidden_size", model.hidden_size, "width of the residual stream").required().range(1, 65'536);
  table.add("intermediate_size", model.intermediate_size, "width of the SwiGLU block")
      .required()
      .range(1, 1 << 20);
  table.add("num_hidden_layers", model.num_hidden_layers, "decoder layers").required().range(1, 4'096);
  table.add("num_attention_heads", model.num_attention_heads, "query heads").required().range(1, 4'096);
  table.add("num_key_value_heads", model.num_key_value_heads, "key and value heads").range(1, 4'096);
  table.add("head_dim", model.head_dim, "width of one head").range(2, 4'096);
  table.add("max_position_embeddings", model.max_position_embeddings, "longest sequence")
      .required()
      .range(1, 1 << 24);
  table.add("rms_norm_eps", model.rms_norm_eps, "added to the mean square").above(0).below(1);
  table.add("initializer_range", model.initializer_range, "standard deviation of new weights")
      .above(0)
      .below(1e3);
  table.add("tie_word_embeddings", model.tie_word_embeddings, "the head uses the embedding's weights");
  table.add("rope_theta", model.rope_theta, "base of the rotary embedding").above(1);
  table.add("rope_parameters.rope_theta", model.rope_theta, "base of the rotary embedding").above(1);
  const std::vector<std::string> dtypes{"float32", "bfloat16", "float16"};
  table.add("torch_dtype", config.dtype, "type of the weights").one_of(dtypes);
  table.add("dtype", config.dtype, "type of the weights").one_of(dtypes);
  table.add("rope_parameters.rope_type", config.rope_type, "longer contexts than trained on")
      .one_of({"default"});
  table.add_unavailable("rope_scaling.rope_type", "longer contexts than trained on").only("default");
  table.add_unavailable("rope_scaling.type", "longer contexts than trained on").only("default");
  table.add_unavailable("rope_parameters.partial_rotary_factor", "share of a head that turns").only(1);
  table.add_unavailable("partial_rotary_factor", "share of a head that turns").only(1);
  table.add_unavailable("hidden_act", "activation of the SwiGLU block").only("silu");
  table.add_unavailable("attention_bias", "biases in attention").only(false);
  table.add_unavailable("mlp_bias", "biases in the SwiGLU block").only(false);
  table.add_unavailable("attention_dropout", "dropout in attention").only(0);
  table.add_unavailable("quantization_config", "quantized weights").only(nullptr);
  return table;
}

OptionTable notes_table(ExportNotes& notes) {
  OptionTable table;
  table.add("sidestep.stages", notes.stages, "stages of the job").range(1, 1'024);
  table.add("sidestep.stage_0_layers", notes.stage_0_layers, "whether stage 0 had layers");
  table.add("sidestep.tokenizer", notes.tokenizer, "how text becomes tokens")
      .one_of({"", "bytes", "sentencepiece"});
  return table;
}

void check_architectures(const nlohmann::json& json, Problems& problems) {
  const auto found = json.find("architectures");
  if (found == json.end() || found->is_null()) return;
  if (found->is_array() && std::find(found->begin(), found->end(), architecture) != found->end()) return;
  problems.add_key("architectures", found->dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) +
                                        " is not available in this version; only [\"" + architecture +
                                        "\"] is");
}

void check_heads(ModelSpec& model, Problems& problems) {
  if (!problems.sound({"num_attention_heads", "num_key_value_heads", "hidden_size", "head_dim"})) return;
  const std::int64_t heads = model.num_attention_heads;
  if (model.num_key_value_heads == 0) model.num_key_value_heads = heads;
  if (heads % model.num_key_value_heads != 0)
    problems.add_key("num_attention_heads", std::to_string(heads) + " heads do not divide by " +
                                                std::to_string(model.num_key_value_heads) +
                                                " key and value heads");
  if (model.head_dim == 0) {
    model.head_dim = model.hidden_size / heads;
    if (model.hidden_size % heads != 0)
      problems.add_key("hidden_size", std::to_string(model.hidden_size) + " does not divide by " +
                                          std::to_string(heads) + " heads, and there is no \"head_dim\"");
  }
  if (model.head_dim % 2 != 0)
    problems.add_key("head_dim", "value " + std::to_string(model.head_dim) +
                                     " is odd; the rotary embedding needs an even one");
}

}  // namespace

Result<ModelSpec> parse_hf_config(const nlohmann::json& json, const std::string& source) {
  Config config;
  Problems problems(source);
  config_table(config).read_known(json, problems);
  if (!json.is_object()) return problems.status();
  check_architectures(json, problems);
  check_heads(config.model, problems);
  if (!problems.empty()) return problems.status();
  return config.model;
}

Result<ExportNotes> parse_export_notes(const nlohmann::json& json, const std::string& source) {
  ExportNotes notes;
  Problems problems(source);
  notes_table(notes).read_known(json, problems);
  if (!problems.empty()) return problems.status();
  return notes;
}

SpecialTokens parse_special_tokens(const nlohmann::json& json) {
  SpecialTokens tokens;
  if (!json.is_object()) return tokens;
  const auto begin = json.find("bos_token_id");
  if (begin != json.end() && begin->is_number_integer()) tokens.begin = begin->get<std::int64_t>();
  const auto ends = json.find("eos_token_id");
  if (ends == json.end()) return tokens;
  if (ends->is_number_integer()) tokens.ends.push_back(ends->get<std::int64_t>());
  if (ends->is_array())
    for (const nlohmann::json& end : *ends)
      if (end.is_number_integer()) tokens.ends.push_back(end.get<std::int64_t>());
  return tokens;
}

nlohmann::json hf_config(const ModelSpec& model, const std::string& dtype, const ExportNotes& notes) {
  Config config{.model = model, .dtype = dtype};
  nlohmann::json json = config_table(config).to_json();
  json["architectures"] = {architecture};
  json["hidden_act"] = "silu";
  json["attention_bias"] = false;
  json["mlp_bias"] = false;
  json["attention_dropout"] = 0.0;
  if (notes.stages > 0) {
    ExportNotes copy = notes;
    json.update(notes_table(copy).to_json());
  }
  for (const char* token : {"bos_token_id", "eos_token_id", "pad_token_id"}) json[token] = nullptr;
  return json;
}

Status compare_models(const ModelSpec& job, const ModelSpec& stored, const std::string& source) {
  const nlohmann::json ours = hf_config(job, "float32"), theirs = hf_config(stored, "float32");
  std::string text;
  for (const char* key :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "rms_norm_eps", "rope_theta", "tie_word_embeddings"})
    if (ours.at(key) != theirs.at(key))
      text += (text.empty() ? "" : "\n") + ("job key \"model." + std::string(key)) + "\": value " +
              ours.at(key).dump() + ", " + source + " has " + theirs.at(key).dump();
  return text.empty() ? Status() : Status::invalid(text);
}

}  // namespace sidestep::daemon

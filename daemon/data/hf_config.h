// config.json of a Hugging Face LLaMA model, and what a job says of its model.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "net/status.h"
#include "scheduler/job.h"

namespace sidestep::daemon {

// Takes the model out of a config.json, as transformers 4 and 5 write it. Keys that say nothing of how the
// model computes are ignored. All problems at once, one a line, each with `source` and the key: no LLaMA
// model, a key missing or out of range, a setting that this program does not compute (rope_scaling, biases,
// another activation, quantization).
Result<scheduler::ModelSpec> parse_hf_config(const nlohmann::json& json, const std::string& source);

// What an export of ours says of its job, under "sidestep" in config.json; transformers ignores it.
struct ExportNotes {
  std::int64_t stages = 0;  // that the model was cut into; 0: not known
  bool stage_0_layers = true;
  std::string tokenizer = {};  // "bytes" or "sentencepiece"; empty: not known
};

// Empty ones where there is no such block. Failure: as parse_hf_config.
Result<ExportNotes> parse_export_notes(const nlohmann::json& json, const std::string& source);

// Tokens with a meaning of their own. Ids that are no whole number are as if they were not there.
struct SpecialTokens {
  std::optional<std::int64_t> begin;  // "bos_token_id"
  std::vector<std::int64_t> ends;     // "eos_token_id", one or a list
};

SpecialTokens parse_special_tokens(const nlohmann::json& json);

// A config.json that transformers 4 and 5 load as LlamaForCausalLM. `dtype`: of the weights beside it, as
// PyTorch calls it. Special tokens are null: a job says nothing of them. Notes without stages are left out.
nlohmann::json hf_config(const scheduler::ModelSpec& model, const std::string& dtype,
                         const ExportNotes& notes = {});

// Whether weights of `stored` fit a job's model: ok, or one line for each field that differs, as
// `job key "model.hidden_size": value 64, SOURCE has 32`. max_position_embeddings and initializer_range may
// differ, no weight depends on them.
Status compare_models(const scheduler::ModelSpec& job, const scheduler::ModelSpec& stored,
                      const std::string& source);

}  // namespace sidestep::daemon

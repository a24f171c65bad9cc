// config.json of a Hugging Face LLaMA model, and what a job says of its model.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "net/status.h"
#include "scheduler/job.h"

namespace sidestep::daemon {

// Takes the model out of a config.json, as transformers 4 and 5 write it. Keys that say nothing of how the
// model computes are ignored. All problems at once, one a line, each with `source` and the key: no LLaMA
// model, a key missing or out of range, a setting that this program does not compute (rope_scaling, biases,
// another activation, quantization).
Result<scheduler::ModelSpec> parse_hf_config(const nlohmann::json& json, const std::string& source);

// A config.json that transformers 4 and 5 load as LlamaForCausalLM. `dtype`: of the weights beside it, as
// PyTorch calls it. Special tokens are null: a job says nothing of them.
nlohmann::json hf_config(const scheduler::ModelSpec& model, const std::string& dtype);

// Whether weights of `stored` fit a job's model: ok, or one line for each field that differs, as
// `job key "model.hidden_size": value 64, SOURCE has 32`. max_position_embeddings and initializer_range may
// differ, no weight depends on them.
Status compare_models(const scheduler::ModelSpec& job, const scheduler::ModelSpec& stored,
                      const std::string& source);

}  // namespace sidestep::daemon

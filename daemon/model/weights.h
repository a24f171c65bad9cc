// Between stages and the tensors of a Hugging Face folder.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "daemon/data/hf_folder.h"
#include "daemon/data/safetensors.h"
#include "daemon/model/stage.h"
#include "net/status.h"

namespace sidestep::daemon {

// Every tensor of a model, layer by layer as Hugging Face lists them. With tied embeddings there is no
// "lm_head.weight".
std::vector<TensorInfo> model_tensors(const scheduler::ModelSpec& model, ElementType type);

// Whether the folder holds exactly the tensors of its model, in their shapes and in float32, bfloat16,
// float16 or float64. Failure: all that is missing, too much or of another shape or type, one a line. Two
// extras are no problem: a "lm_head.weight" beside tied embeddings (load_stage sees that it is a copy) and
// old checkpoints' "rotary_emb.inv_freq", which follows from the config.
Status check_tensors(const HfFolder& folder);

// check_tensors, and that a tied head is the embedding and every element finite: with the folder's
// content_digest all that load_stage would find, for every stage. Reads every tensor.
Status check_weights(const HfFolder& folder);

// Replaces the stage's weights by the folder's, rounded to the master type; gradient and split into stages do
// not matter. Precondition: the stage is of a job whose model is the folder's (compare_models). Failures:
// those of check_tensors; a tensor that is damaged or has an element that is not finite, by name. After a
// failure the weights are undefined.
Status load_stage(const HfFolder& folder, Stage& stage);

// The stage's parameters by Hugging Face's names, float32 on the CPU. They share the stage's memory where its
// weights are that already.
std::map<std::string, at::Tensor> weights_by_name(Stage& stage);

}  // namespace sidestep::daemon

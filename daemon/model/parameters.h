// Which parameters a stage holds, under Hugging Face's names, and where each lies in the stage's flat
// buffers. Weights, gradients, averages and moments all use this one layout. Values; any thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "scheduler/job.h"

namespace sidestep::daemon {

struct Parameter {
  std::string name;                 // "model.layers.3.self_attn.q_proj.weight": 3 counts over all stages
  std::vector<std::int64_t> shape;  // [out, in] of a matrix, [n] of a norm
  std::int64_t offset = 0;          // elements from the start of the flat buffer
  std::int64_t elements() const;
  bool is_norm() const { return shape.size() == 1; }
};

// Matrices first, then norms: [0, matrix_elements) decays, the rest does not. Query, key and value
// projections follow each other, as do gate and up, so that each group is also one matrix.
struct ParameterLayout {
  std::vector<Parameter> parameters;
  std::int64_t matrix_elements = 0;
  std::int64_t elements = 0;

  static ParameterLayout of_stage(const scheduler::JobSpec& spec, std::int64_t stage);
  // Precondition: the stage holds it.
  const Parameter& find(const std::string& name) const;
};

// The parameter as a view of a flat buffer of this layout.
at::Tensor view_of(const at::Tensor& flat, const Parameter& parameter);

// Views of a flat buffer's two parts: the matrices, and the norms behind them.
std::pair<at::Tensor, at::Tensor> parts_of(const at::Tensor& flat, const ParameterLayout& layout);
// A norm as a view of the second part.
at::Tensor norm_view(const at::Tensor& norms, const ParameterLayout& layout, const Parameter& parameter);

// Views of one decoder layer's weights, or of their gradients.
struct LayerTensors {
  at::Tensor qkv;             // [(heads + 2 kv_heads) * head_dim, hidden]
  at::Tensor output;          // [hidden, heads * head_dim]
  at::Tensor gate_up;         // [2 * intermediate, hidden]
  at::Tensor down;            // [hidden, intermediate]
  at::Tensor input_norm;      // [hidden]
  at::Tensor attention_norm;  // [hidden]: "post_attention_layernorm"
};

// Views of what stage 0 holds besides its layers. With tied embeddings `head` is `embedding`.
struct EdgeTensors {
  at::Tensor embedding;  // [vocab, hidden]
  at::Tensor head;       // [vocab, hidden]
  at::Tensor norm;       // [hidden]
};

// `matrices` and `norms` are the two parts of a flat buffer of this layout, [0, matrix_elements) and what
// comes behind; they may be of different types.
LayerTensors layer_views(const scheduler::ModelSpec& model, const ParameterLayout& layout, std::int64_t layer,
                         const at::Tensor& matrices, const at::Tensor& norms);
EdgeTensors edge_views(const scheduler::ModelSpec& model, const ParameterLayout& layout,
                       const at::Tensor& matrices, const at::Tensor& norms);

// What the decoder layers have of a flat buffer of this layout, in its order: as long for every stage with as
// many layers. A part of `flat`, or a copy where the stage holds more than layers.
at::Tensor layers_of(const at::Tensor& flat, const ParameterLayout& layout);

// Writes initial weights as Hugging Face's LlamaPreTrainedModel does: matrices from a normal distribution
// of mean 0 and standard deviation initializer_range, norms 1. Element i of a parameter depends on
// (seed, name, i) only, so that it is the same in every split into stages and on every replica.
void initialize(const ParameterLayout& layout, std::uint64_t seed, double initializer_range,
                at::Tensor& flat);

}  // namespace sidestep::daemon

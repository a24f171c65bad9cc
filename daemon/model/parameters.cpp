#include "daemon/model/parameters.h"

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "net/assert.h"
#include "net/random.h"

namespace sidestep::daemon {
namespace {

std::string layer_prefix(std::int64_t layer) { return "model.layers." + std::to_string(layer) + "."; }

class Builder {
 public:
  void add(std::string name, std::vector<std::int64_t> shape) {
    Parameter parameter{std::move(name), std::move(shape), layout_.elements};
    layout_.elements += parameter.elements();
    layout_.parameters.push_back(std::move(parameter));
  }
  void end_matrices() { layout_.matrix_elements = layout_.elements; }
  ParameterLayout take() { return std::move(layout_); }

 private:
  ParameterLayout layout_;
};

// FNV-1a: the name's part of the key of its random numbers.
std::uint64_t hash_of(const std::string& text) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char character : text) hash = (hash ^ static_cast<unsigned char>(character)) * 0x100000001b3u;
  return hash;
}

// Two normal numbers of mean 0 and deviation 1 for pair `index` under `key` (Box and Muller).
std::pair<double, double> normal_pair(std::uint64_t key, std::uint64_t index) {
  net::Random random(key ^ (index * 0xd1342543de82ef95u));
  const double radius = std::sqrt(-2 * std::log1p(-random.uniform()));
  const double angle = 2 * std::numbers::pi * random.uniform();
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

}  // namespace

std::int64_t Parameter::elements() const {
  std::int64_t product = 1;
  for (const std::int64_t extent : shape) product *= extent;
  return product;
}

ParameterLayout ParameterLayout::of_stage(const scheduler::JobSpec& spec, std::int64_t stage) {
  const scheduler::ModelSpec& model = spec.model;
  const std::int64_t first = spec.first_layer(stage);
  const std::int64_t end = first + spec.layer_count(stage);
  const std::int64_t hidden = model.hidden_size;
  const std::int64_t queries = model.num_attention_heads * model.head_dim;
  const std::int64_t keys = model.num_key_value_heads * model.head_dim;

  Builder builder;
  if (stage == 0) {
    builder.add("model.embed_tokens.weight", {model.vocab_size, hidden});
    if (!model.tie_word_embeddings) builder.add("lm_head.weight", {model.vocab_size, hidden});
  }
  for (std::int64_t layer = first; layer < end; ++layer) {
    const std::string prefix = layer_prefix(layer);
    builder.add(prefix + "self_attn.q_proj.weight", {queries, hidden});
    builder.add(prefix + "self_attn.k_proj.weight", {keys, hidden});
    builder.add(prefix + "self_attn.v_proj.weight", {keys, hidden});
    builder.add(prefix + "self_attn.o_proj.weight", {hidden, queries});
    builder.add(prefix + "mlp.gate_proj.weight", {model.intermediate_size, hidden});
    builder.add(prefix + "mlp.up_proj.weight", {model.intermediate_size, hidden});
    builder.add(prefix + "mlp.down_proj.weight", {hidden, model.intermediate_size});
  }
  builder.end_matrices();
  for (std::int64_t layer = first; layer < end; ++layer) {
    builder.add(layer_prefix(layer) + "input_layernorm.weight", {hidden});
    builder.add(layer_prefix(layer) + "post_attention_layernorm.weight", {hidden});
  }
  if (stage == 0) builder.add("model.norm.weight", {hidden});
  return builder.take();
}

const Parameter& ParameterLayout::find(const std::string& name) const {
  const auto found = std::find_if(parameters.begin(), parameters.end(),
                                  [&](const Parameter& parameter) { return parameter.name == name; });
  SIDESTEP_ASSERT(found != parameters.end());
  return *found;
}

at::Tensor view_of(const at::Tensor& flat, const Parameter& parameter) {
  return flat.narrow(0, parameter.offset, parameter.elements()).view(parameter.shape);
}

std::pair<at::Tensor, at::Tensor> parts_of(const at::Tensor& flat, const ParameterLayout& layout) {
  return {flat.narrow(0, 0, layout.matrix_elements),
          flat.narrow(0, layout.matrix_elements, layout.elements - layout.matrix_elements)};
}

at::Tensor norm_view(const at::Tensor& norms, const ParameterLayout& layout, const Parameter& parameter) {
  return norms.narrow(0, parameter.offset - layout.matrix_elements, parameter.elements());
}

LayerTensors layer_views(const scheduler::ModelSpec& model, const ParameterLayout& layout, std::int64_t layer,
                         const at::Tensor& matrices, const at::Tensor& norms) {
  const std::string prefix = layer_prefix(layer);
  // The parameter and those right behind it, as one matrix.
  const auto rows_from = [&](const char* name, std::int64_t rows) {
    const std::int64_t offset = layout.find(prefix + name).offset;
    return matrices.narrow(0, offset, rows * model.hidden_size).view({rows, model.hidden_size});
  };
  const std::int64_t qkv_rows = (model.num_attention_heads + 2 * model.num_key_value_heads) * model.head_dim;
  return {
      .qkv = rows_from("self_attn.q_proj.weight", qkv_rows),
      .output = view_of(matrices, layout.find(prefix + "self_attn.o_proj.weight")),
      .gate_up = rows_from("mlp.gate_proj.weight", 2 * model.intermediate_size),
      .down = view_of(matrices, layout.find(prefix + "mlp.down_proj.weight")),
      .input_norm = norm_view(norms, layout, layout.find(prefix + "input_layernorm.weight")),
      .attention_norm = norm_view(norms, layout, layout.find(prefix + "post_attention_layernorm.weight"))};
}

EdgeTensors edge_views(const scheduler::ModelSpec& model, const ParameterLayout& layout,
                       const at::Tensor& matrices, const at::Tensor& norms) {
  EdgeTensors edge;
  edge.embedding = view_of(matrices, layout.find("model.embed_tokens.weight"));
  edge.head = model.tie_word_embeddings ? edge.embedding : view_of(matrices, layout.find("lm_head.weight"));
  edge.norm = norm_view(norms, layout, layout.find("model.norm.weight"));
  return edge;
}

at::Tensor layers_of(const at::Tensor& flat, const ParameterLayout& layout) {
  std::vector<const Parameter*> kept;
  for (const Parameter& parameter : layout.parameters)
    if (parameter.name.starts_with("model.layers.")) kept.push_back(&parameter);
  if (kept.size() == layout.parameters.size()) return flat;
  std::ranges::sort(kept, {}, &Parameter::offset);
  std::vector<at::Tensor> parts;
  for (const Parameter* parameter : kept)
    parts.push_back(flat.narrow(0, parameter->offset, parameter->elements()));
  return parts.empty() ? flat.narrow(0, 0, 0) : at::cat(parts);
}

void initialize(const ParameterLayout& layout, std::uint64_t seed, double initializer_range,
                at::Tensor& flat) {
  // Drawn on the CPU and copied, so that a device does not change the numbers.
  at::Tensor drawn = at::empty({layout.elements}, at::TensorOptions().dtype(at::kFloat));
  auto* values = drawn.mutable_data_ptr<float>();
  for (const Parameter& parameter : layout.parameters) {
    float* out = values + parameter.offset;
    const std::int64_t elements = parameter.elements();
    if (parameter.is_norm()) {
      std::fill(out, out + elements, 1.0f);
      continue;
    }
    const std::uint64_t key = net::Random(seed ^ hash_of(parameter.name)).next();
    at::parallel_for(0, (elements + 1) / 2, 1 << 14, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t pair = begin; pair < end; ++pair) {
        const auto [first, second] = normal_pair(key, static_cast<std::uint64_t>(pair));
        out[2 * pair] = static_cast<float>(initializer_range * first);
        if (2 * pair + 1 < elements) out[2 * pair + 1] = static_cast<float>(initializer_range * second);
      }
    });
  }
  flat.copy_(drawn);
}

}  // namespace sidestep::daemon

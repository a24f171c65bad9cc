#include "daemon/model/weights.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <string_view>

namespace sidestep::daemon {
namespace {

constexpr const char* head_name = "lm_head.weight";
constexpr const char* embedding_name = "model.embed_tokens.weight";

std::optional<at::ScalarType> scalar_type_of(ElementType type) {
  switch (type) {
    case ElementType::f32:
      return at::kFloat;
    case ElementType::bf16:
      return at::kBFloat16;
    case ElementType::f16:
      return at::kHalf;
    case ElementType::f64:
      return at::kDouble;
    default:
      return std::nullopt;
  }
}

// A CPU tensor of its own: the file's bytes lie at any address.
at::Tensor to_tensor(const StoredTensor& stored) {
  const auto type = scalar_type_of(stored.info.type);
  SIDESTEP_ASSERT(type.has_value());
  at::Tensor tensor = at::empty(stored.info.shape, at::TensorOptions().dtype(*type));
  if (!stored.bytes.empty()) std::memcpy(tensor.mutable_data_ptr(), stored.bytes.data(), stored.bytes.size());
  return tensor;
}

// The whole model as one stage.
ParameterLayout whole_layout(const scheduler::ModelSpec& model) {
  scheduler::JobSpec spec;
  spec.model = model;
  return ParameterLayout::of_stage(spec, 0);
}

bool may_be_extra(const scheduler::ModelSpec& model, const std::string& name) {
  return (model.tie_word_embeddings && name == head_name) || name.ends_with(".rotary_emb.inv_freq");
}

// Some programs write the tied head all the same; it has to be the embedding.
Status check_tied_head(const HfFolder& folder) {
  const StoredTensor* head = folder.find(head_name);
  const StoredTensor* embedding = folder.find(embedding_name);
  if (!folder.model().tie_word_embeddings || head == nullptr || embedding == nullptr) return {};
  if (std::equal(head->bytes.begin(), head->bytes.end(), embedding->bytes.begin(), embedding->bytes.end()))
    return {};
  return Status::invalid(folder.path() + ": tensor \"" + head_name + "\" is not \"" + embedding_name +
                         "\", though config.json says \"tie_word_embeddings\"");
}

Result<at::Tensor> finite_values(const HfFolder& folder, const StoredTensor& stored) {
  at::Tensor values = to_tensor(stored);
  if (at::isfinite(values).all().item<bool>()) return values;
  return Status::invalid(folder.path() + ": tensor \"" + stored.info.name +
                         "\" has an element that is not finite; the file is damaged, or its training failed");
}

}  // namespace

std::vector<TensorInfo> model_tensors(const scheduler::ModelSpec& model, ElementType type) {
  const ParameterLayout layout = whole_layout(model);
  // Its order is matrices, then norms; in a file a layer's tensors stand together, between embedding and
  // head.
  const auto place_of = [&](const std::string& name) -> std::int64_t {
    constexpr std::string_view layers = "model.layers.";
    if (name == embedding_name) return -1;
    if (name == head_name) return model.num_hidden_layers + 1;
    if (!name.starts_with(layers)) return model.num_hidden_layers;
    return std::stoll(name.substr(layers.size()));
  };
  std::vector<TensorInfo> tensors;
  for (const Parameter& parameter : layout.parameters)
    tensors.push_back({.name = parameter.name, .type = type, .shape = parameter.shape});
  std::stable_sort(tensors.begin(), tensors.end(), [&](const TensorInfo& a, const TensorInfo& b) {
    return place_of(a.name) < place_of(b.name);
  });
  return tensors;
}

Status check_tensors(const HfFolder& folder) {
  std::string text;
  const auto note = [&](const std::string& name, const std::string& what) {
    text += (text.empty() ? "" : "\n") + folder.path() + ": tensor \"" + name + "\" " + what;
  };
  std::set<std::string> expected;
  for (const Parameter& parameter : whole_layout(folder.model()).parameters) {
    expected.insert(parameter.name);
    const StoredTensor* stored = folder.find(parameter.name);
    if (stored == nullptr)
      note(parameter.name, "is missing");
    else if (stored->info.shape != parameter.shape)
      note(parameter.name, "has shape " + shape_text(stored->info.shape) + ", config.json asks for " +
                               shape_text(parameter.shape));
    else if (!scalar_type_of(stored->info.type))
      note(parameter.name, "has type " + std::string(to_string(stored->info.type)) +
                               "; weights are read as F32, BF16, F16 or F64");
  }
  for (const std::string& name : folder.names())
    if (!expected.contains(name) && !may_be_extra(folder.model(), name))
      note(name, "is no part of the model that config.json describes");
  return text.empty() ? Status() : Status::invalid(text);
}

Status check_weights(const HfFolder& folder) {
  if (Status status = check_tensors(folder); !status.ok()) return status;
  if (Status status = check_tied_head(folder); !status.ok()) return status;
  for (const Parameter& parameter : whole_layout(folder.model()).parameters)
    if (const auto values = finite_values(folder, *folder.find(parameter.name)); !values.ok())
      return values.status();
  return {};
}

Status load_stage(const HfFolder& folder, Stage& stage) {
  if (Status status = check_tensors(folder); !status.ok()) return status;
  if (Status status = check_tied_head(folder); !status.ok()) return status;
  for (const Parameter& parameter : stage.layout().parameters) {
    const auto stored = folder.tensor(parameter.name);
    if (!stored.ok()) return stored.status();
    const auto values = finite_values(folder, stored.value());
    if (!values.ok()) return values.status();
    stage.weight(parameter).copy_(values.value());
  }
  stage.weights_changed();
  return {};
}

std::map<std::string, at::Tensor> weights_by_name(Stage& stage) {
  const at::Tensor all = stage.weights().to(at::kCPU, at::kFloat);
  std::map<std::string, at::Tensor> tensors;
  for (const Parameter& parameter : stage.layout().parameters)
    tensors.emplace(parameter.name, view_of(all, parameter));
  return tensors;
}

}  // namespace sidestep::daemon

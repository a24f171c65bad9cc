#include "tests/process/model_fixture.h"

#include <catch2/catch.hpp>

#include "daemon/data/hf_export.h"

namespace sidestep::testing {

std::string write_model(const TemporaryFolder& folder) {
  scheduler::ModelSpec model;
  model.hidden_size = 8;
  model.intermediate_size = 8;
  model.num_hidden_layers = 3;
  model.num_attention_heads = 2;
  model.num_key_value_heads = 1;
  model.head_dim = 4;
  model.max_position_embeddings = 32;
  std::vector<daemon::TensorInfo> tensors{{.name = "model.embed_tokens.weight", .shape = {256, 8}},
                                          {.name = "lm_head.weight", .shape = {256, 8}},
                                          {.name = "model.norm.weight", .shape = {8}}};
  for (int layer = 0; layer < 3; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    for (const char* name :
         {"self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"})
      tensors.push_back({.name = prefix + name + ".weight", .shape = {8, 8}});
    for (const char* name : {"self_attn.k_proj", "self_attn.v_proj"})
      tensors.push_back({.name = prefix + name + ".weight", .shape = {4, 8}});
    for (const char* name : {"input_layernorm", "post_attention_layernorm"})
      tensors.push_back({.name = prefix + name + ".weight", .shape = {8}});
  }
  const std::string path = folder / "model";
  const Status written =
      daemon::write_hf_folder(path, model, tensors,
                              [](const daemon::TensorInfo& tensor) -> Result<net::Payload> {
                                return net::Payload::from_bytes(
                                    std::vector<std::byte>(static_cast<std::size_t>(4 * tensor.elements())));
                              },
                              {.notes = {.stages = 3}});
  INFO(written.message());
  REQUIRE(written.ok());
  return path;
}

}  // namespace sidestep::testing

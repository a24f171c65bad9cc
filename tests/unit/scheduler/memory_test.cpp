#include "scheduler/memory.h"

#include <catch2/catch.hpp>

#include "scheduler/logits.h"
#include "tests/unit/scheduler/swarm.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using namespace sidestep::scheduler::testing;

namespace {

// Two stages of two layers; every size another prime or power, so that no two terms look alike.
JobSpec job() {
  JobSpec spec = parse_job(job_json(), "job.json").value();
  spec.model.hidden_size = 64;
  spec.model.intermediate_size = 176;
  spec.model.num_attention_heads = 4;
  spec.model.num_key_value_heads = 2;
  spec.model.head_dim = 16;
  spec.model.vocab_size = 256;
  spec.model.num_hidden_layers = 4;
  spec.pipeline.stages = 2;
  spec.pipeline.slots = 3;
  spec.pipeline.microbatch_size = 2;
  spec.data.sequence_length = 32;
  return spec;
}

// By hand: q and o 64 x 64, k and v 64 x 32, gate, up and down 64 x 176, two norms of 64.
constexpr std::uint64_t layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 176 + 2 * 64;
constexpr std::uint64_t edge = 2 * 256 * 64 + 64;

}  // namespace

TEST_CASE("Memory: parameters of a stage, with and without the edge") {
  JobSpec spec = job();
  CHECK(stage_parameters(spec, 1) == 2 * layer);
  CHECK(stage_parameters(spec, 0) == 2 * layer + edge);
  spec.model.tie_word_embeddings = true;
  CHECK(stage_parameters(spec, 0) == 2 * layer + edge - 256 * 64);
}

TEST_CASE("Memory: each part of a stage's sum") {
  const MemoryNeed need = memory_need(job(), 1, 1);
  CHECK(need.weights == 4 * 2 * layer);
  CHECK(need.gradients == need.weights);
  CHECK(need.optimizer == 2 * need.weights);
  CHECK(need.averaging == need.weights);
  CHECK(need.slots == 3);
  // Of each of 64 tokens and two layers: 4 x hidden, 2 x 64 queries, 2 x 32 keys and values, 2 x 176, and
  // 2 + 4 floats.
  CHECK(need.activations_a_slot == 2 * 64 * 4 * (4 * 64 + 2 * 64 + 2 * 32 + 2 * 176 + 6));
  CHECK(need.messages == 5 * 64 * 64 * 4);
  CHECK(need.total() == need.state() + 3 * need.activations_a_slot + need.work + need.messages);
}

TEST_CASE("Memory: bfloat16 halves activations and adds a copy of the matrices") {
  JobSpec spec = job();
  const MemoryNeed full = memory_need(spec, 1, 1);
  spec.precision = "bfloat16";
  const MemoryNeed half = memory_need(spec, 1, 1);
  CHECK(half.weights == full.weights * 3 / 2);
  CHECK(half.gradients == full.gradients);
  const std::uint64_t floats = 2 * 64 * 4 * 6;
  CHECK(half.activations_a_slot - floats == (full.activations_a_slot - floats) / 2);
  CHECK(half.messages == full.messages / 2);
}

TEST_CASE("Memory: a replica needs room for averages on the way, a lone stage none for messages") {
  JobSpec spec = job();
  CHECK(memory_need(spec, 1, 2).averaging == 2 * memory_need(spec, 1, 1).averaging);
  spec.pipeline.stages = 1;
  CHECK(memory_need(spec, 0, 1).messages == 0);
}

TEST_CASE("Memory: the sum as people read it") {
  MemoryNeed need;
  need.weights = need.gradients = need.averaging = 68u << 20;
  need.optimizer = 136u << 20;
  need.slots = 4;
  need.activations_a_slot = (19u << 20) + 1;
  CHECK(need.text() ==
        "417 MiB (weights 68, gradients 68, optimizer 136, averaging 68, activations 4 x 20, work 0, "
        "messages 0)");
}

TEST_CASE("Memory: whole mebibytes are rounded up, of any number of bytes") {
  CHECK(mebibytes(0) == "0 MiB");
  CHECK(mebibytes(1) == "1 MiB");
  CHECK(mebibytes(3u << 20) == "3 MiB");
  CHECK(mebibytes(~std::uint64_t{0}) == "17592186044416 MiB");
}

TEST_CASE("Memory: the head's logits count as a piece of them, twice and in the smaller type") {
  JobSpec spec = job();
  spec.model.vocab_size = 1 << 17;
  const std::uint64_t matrix = (1u << 17) * 64, rows = 3 * 64 * 64;
  const std::uint64_t few = 64u << 17;  // of 64 tokens: fewer than a piece
  CHECK(memory_need(spec, 0, 1).work == 4 * (rows + matrix) + few * 8);
  spec.precision = "bfloat16";
  CHECK(memory_need(spec, 0, 1).work == 2 * (rows + matrix) + few * 10);
  spec.pipeline.microbatch_size = 64;
  CHECK(memory_need(spec, 0, 1).work ==
        2 * (32 * rows + matrix) + static_cast<std::uint64_t>(logits_elements_max) * 10);
}

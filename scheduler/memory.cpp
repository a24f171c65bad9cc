#include "scheduler/memory.h"

#include <algorithm>

#include "scheduler/logits.h"

namespace sidestep::scheduler {
namespace {

constexpr std::uint64_t float_bytes = 4;
constexpr std::uint64_t chunk_bytes = 4u << 20;  // of an average on the wire
constexpr std::uint64_t chunks_on_the_way = 32;

std::uint64_t whole_mebibytes(std::uint64_t bytes) { return (bytes >> 20) + ((bytes & 0xfffff) != 0); }

// Sizes that the sums below are made of, as unsigned numbers.
struct Sizes {
  explicit Sizes(const JobSpec& job)
      : element(net::size_of(job.activation_dtype())),
        tokens(as_count(job.pipeline.microbatch_size * job.data.sequence_length)),
        hidden(as_count(job.model.hidden_size)),
        query(as_count(job.model.num_attention_heads * job.model.head_dim)),
        key_value(as_count(job.model.num_key_value_heads * job.model.head_dim)),
        intermediate(as_count(job.model.intermediate_size)),
        heads(as_count(job.model.num_attention_heads)),
        vocabulary(as_count(job.model.vocab_size)) {}

  static std::uint64_t as_count(std::int64_t value) { return static_cast<std::uint64_t>(value); }
  std::uint64_t activation() const { return element * tokens * hidden; }

  std::uint64_t element, tokens, hidden, query, key_value, intermediate, heads, vocabulary;
};

// What a layer keeps for its backward: its input and the output of both norms, queries, keys and values,
// attention's output, the middle, gate and up; in float32 the norms' scales and attention's logsumexp.
std::uint64_t kept_by_layer(const Sizes& s) {
  const std::uint64_t elements = 4 * s.hidden + 2 * s.query + 2 * s.key_value + 2 * s.intermediate;
  return s.tokens * (s.element * elements + float_bytes * (2 + s.heads));
}

// A layer's backward: gradients by its output, the activation, gate and up, and the largest matrix's gradient
// before it is added.
std::uint64_t work_of_layer(const Sizes& s) {
  const std::uint64_t rows = 2 * s.hidden + 3 * s.intermediate;
  const std::uint64_t matrix = s.hidden * std::max(2 * s.intermediate, s.query + 2 * s.key_value);
  return s.element * (s.tokens * rows + matrix);
}

// The head: normed rows and their gradient, a piece of logits (in float32, on a GPU their logarithms too, and
// once more in a smaller type), the matrix's gradient before it is added.
std::uint64_t work_of_head(const Sizes& s) {
  const std::uint64_t logits =
      std::min(s.tokens * s.vocabulary, std::max(Sizes::as_count(logits_elements_max), s.vocabulary));
  const std::uint64_t copy = s.element == float_bytes ? 0 : s.element;
  return 3 * s.activation() + logits * (2 * float_bytes + copy) + s.element * s.vocabulary * s.hidden;
}

}  // namespace

std::uint64_t mirror_bytes(const JobSpec& job, std::int64_t stage) {
  constexpr std::uint64_t states = 2;
  const std::uint64_t buffers = job.recovery.moments == "average" ? 3 : 1;
  return states * buffers * float_bytes * stage_parameters(job, stage);
}

std::uint64_t stage_parameters(const JobSpec& job, std::int64_t stage) {
  const Sizes s(job);
  const std::uint64_t layer =
      2 * s.hidden * s.query + 2 * s.hidden * s.key_value + 3 * s.hidden * s.intermediate + 2 * s.hidden;
  std::uint64_t count = layer * Sizes::as_count(job.layer_count(stage));
  if (stage == 0) count += s.vocabulary * s.hidden * (job.model.tie_word_embeddings ? 1 : 2) + s.hidden;
  return count;
}

MemoryNeed memory_need(const JobSpec& job, std::int64_t stage, std::uint64_t replicas) {
  const Sizes s(job);
  const std::uint64_t buffer = float_bytes * stage_parameters(job, stage);
  MemoryNeed need;
  need.weights = buffer + (s.element == float_bytes ? 0 : buffer / float_bytes * s.element);
  need.gradients = buffer;
  need.optimizer = 2 * buffer;
  need.averaging = buffer;
  if (replicas > 1) need.averaging += std::min(buffer, chunks_on_the_way * chunk_bytes);
  need.slots = Sizes::as_count(job.pipeline.slots);
  need.activations_a_slot = kept_by_layer(s) * Sizes::as_count(job.layer_count(stage));
  need.work = std::max(work_of_layer(s), stage == 0 ? work_of_head(s) : 0);
  if (job.pipeline.stages > 1) need.messages = (need.slots + 2) * s.activation();
  return need;
}

std::string mebibytes(std::uint64_t bytes) { return std::to_string(whole_mebibytes(bytes)) + " MiB"; }

std::string MemoryNeed::text() const {
  const auto part = [](const char* name, std::uint64_t bytes) {
    return std::string(name) + std::to_string(whole_mebibytes(bytes));
  };
  return mebibytes(total()) + part(" (weights ", weights) + part(", gradients ", gradients) +
         part(", optimizer ", optimizer) + part(", averaging ", averaging) + ", activations " +
         std::to_string(slots) + part(" x ", activations_a_slot) + part(", work ", work) +
         part(", messages ", messages) + ")";
}

}  // namespace sidestep::scheduler

// A job as the user writes it: one JSON file. The field names of `model` are those of a Hugging Face
// LLaMA config.json. Every field is defined once, in the table in job.cpp; parser, defaults, ranges,
// messages and docs come from it. Values.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "net/status.h"
#include "net/tensor.h"
#include "scheduler/failure_spec.h"
#include "scheduler/pipeline_spec.h"
#include "scheduler/recovery_spec.h"

namespace sidestep::scheduler {

struct ModelSpec {
  std::int64_t vocab_size = 256;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;      // default: num_attention_heads
  std::int64_t head_dim = 0;                 // default: hidden_size / num_attention_heads
  std::int64_t max_position_embeddings = 0;  // default: data.sequence_length
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  double initializer_range = 0.02;
  bool tie_word_embeddings = false;
};

struct DataFile {
  std::string path;
  std::string digest;  // "sha256:…"; empty: whatever the file holds
  double weight = 1;   // of the sequences to train on, relative to the other files
};

struct DataSpec {
  std::string path;             // empty where `files` says which
  std::vector<DataFile> files;  // several instead of one; empty where `path` says which
  // "sha256:…" of every file, then of the tokenizer's, with a space between; empty: whatever they hold
  // (filled in at submit).
  std::string digest;
  std::string format = "text";      // "text", "jsonl", "tokens"
  std::string field = "text";       // for jsonl: the key that holds a document's text
  std::string tokenizer = "bytes";  // for text and jsonl: "bytes", "sentencepiece"
  std::string tokenizer_path;
  std::string tokenizer_digest;
  std::string token_type = "uint16";  // for tokens: "uint16", "uint32"
  std::int64_t sequence_length = 0;   // tokens a sequence is trained on
  double validation_share = 0.05;     // last part of each file, never trained on

  // `files`, or the one file of `path`.
  std::vector<DataFile> all_files() const;
  // The data in a message: its path, or the first path and how many more.
  std::string name() const;
};

struct OptimizerSpec {
  std::string name = "adamw";
  double learning_rate = 0;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0;
  double clip_norm = 1.0;  // per stage; 0: no clipping
  std::int64_t warmup_steps = 0;
  std::string schedule = "cosine";   // "cosine", "constant"
  double final_ratio = 0.1;          // of learning_rate, at the last step of a cosine
  std::int64_t non_finite_max = 10;  // steps in a row without an update; then the job ends. 0: never
};

struct ValidationSpec {
  std::int64_t every = 0;  // steps; 0: never
  std::int64_t microbatches = 4;
  std::vector<double> skip = {};  // shares of the stages to leave out, each in a validation of its own
};

// A checkpoint that a job begins with, of this job or another of the same model and stages.
struct ResumeSpec {
  std::string directory;     // of the checkpoint, or of several of a job; empty: none
  std::int64_t commit = -1;  // its state is that of this commit; -1: the newest there is (settled at submit)
  std::string digest;        // "sha256:…" of its manifest; empty: whatever it is (settled at submit)
};

struct JobSpec {
  std::string name;
  ModelSpec model;
  PipelineSpec pipeline;
  DataSpec data;
  OptimizerSpec optimizer;
  RecoverySpec recovery;
  FailureSpec failures;
  ValidationSpec validation;
  std::int64_t steps = 0;
  // Of compute and activations: "float32", "bfloat16", or "auto" until it is known where the job runs.
  std::string precision = "auto";
  std::uint64_t seed = 0;
  std::string init_from;         // Hugging Face folder whose weights the job begins with; empty: the seed's
  std::string init_from_digest;  // "sha256:…" of it; empty: whatever it holds (filled in at submit)
  ResumeSpec resume;
  bool deterministic = false;
  std::string gradient_scale = "visited";  // "visited", "step"

  // The commit whose state the job begins with: 0, or that of the checkpoint that it resumes from.
  std::uint64_t first_commit() const {
    return resume.directory.empty() || resume.commit < 0 ? 0 : static_cast<std::uint64_t>(resume.commit);
  }
  // Layers held by a stage: [first, first + count).
  std::int64_t first_layer(std::int64_t stage) const;
  std::int64_t layer_count(std::int64_t stage) const;
  // "auto" becomes bfloat16 where all nodes of the job compute on GPUs, else float32.
  void resolve_precision(bool on_gpus);
  // Wire type of activations; of an unresolved "auto" the larger one.
  net::DType activation_dtype() const;
  // Of one microbatch, as it travels.
  std::uint64_t activation_bytes() const;
  std::int64_t tokens_per_step() const;
  // Learning rate of a step (1 is the first).
  double learning_rate(std::int64_t step) const;
  // Validation microbatches that run at the beginning of `step`, with the weights of commit step - 1.
  // Every `validation.every` commits and after the last one; step `steps + 1` exists for that alone.
  // The first `validation.microbatches` visit every stage; as many follow for each of `validation.skip`.
  std::int64_t evaluations_in(std::int64_t step) const;
  // Which of the validation data the microbatch reads: all validations see the same.
  std::uint32_t validation_data(std::uint32_t microbatch) const {
    return microbatch % static_cast<std::uint32_t>(validation.microbatches);
  }
  // The last step number: steps, or steps + 1 when validation follows the last update.
  std::int64_t final_step() const;
};

// All problems at once, one a line, each as `SOURCE: key "pipeline.slots": value 0 is too small,
// at least 1 allowed` or `SOURCE: unknown key "pipeline.skip_ration"; did you mean "skip_ratio"?`.
// `source` is the file's name. Checks that need no machine: types, ranges, and how fields fit together
// (heads divide, stages divide layers, …).
Result<JobSpec> parse_job(const nlohmann::json& json, const std::string& source);
// Reads and parses; the file missing or not JSON is a Status with path, line and column.
Result<JobSpec> load_job(const std::string& path);
// Complete, defaults included; parse_job of it gives the same.
nlohmann::json to_json(const JobSpec& job);
// The table of keys, for the docs.
std::string job_keys_markdown();

}  // namespace sidestep::scheduler

#include "scheduler/job.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "net/assert.h"
#include "scheduler/options.h"

namespace sidestep::scheduler {
namespace {

// A tensor on the wire may not be larger (net::CodecLimits).
constexpr std::int64_t activation_bytes_max = 1 << 30;

OptionTable data_file_table(DataFile& file) {
  OptionTable table;
  table.add("path", file.path, "as data.path").required();
  table.add("digest", file.digest, "of this file").default_text("what it has at submit");
  table.add("weight", file.weight, "share of the sequences to train on, relative to the other files")
      .above(0)
      .below(1e9);
  return table;
}

std::string read_skips(const nlohmann::json& value, std::vector<double>& skips) {
  constexpr std::size_t skips_max = 16;
  if (!value.is_array()) return "must be a list of numbers from 0 to 0.99, found " + describe(value);
  std::vector<double> read;
  for (const nlohmann::json& entry : value) {
    if (!entry.is_number() || entry < 0 || entry > PipelineSpec::skip_ratio_max)
      return "each entry must be a number from 0 to 0.99, found " + describe(entry);
    read.push_back(entry.get<double>());
  }
  if (read.size() > skips_max)
    return "has " + std::to_string(read.size()) + " entries, at most " + std::to_string(skips_max) +
           " allowed";
  skips = std::move(read);
  return {};
}

// The one place that defines a job's keys.
OptionTable job_table(JobSpec& job) {
  OptionTable table;
  table.add("name", job.name, "what the job is called; its id is this and a number").required();
  table.add("steps", job.steps, "optimizer updates of the whole model").required().range(1, 100'000'000);
  table
      .add(
          "precision", job.precision,
          "of compute and activations, weights are kept in float32; auto: bfloat16 where every node that can "
          "take part computes on a GPU, else float32")
      .one_of({"auto", "float32", "bfloat16"});
  table.add("seed", job.seed, "of weights and data order");
  table
      .add("init_from", job.init_from,
           "Hugging Face LLaMA folder whose weights the job begins with, as a path on every node")
      .default_text("new weights, from the seed");
  table.add("init_from_digest", job.init_from_digest, "of that folder").default_text("what it has at submit");
  table
      .add("resume.directory", job.resume.directory,
           "checkpoint that the job begins with, or the folder of a job's checkpoints, as a path on every "
           "node; `sidestep submit --resume` fills it in")
      .default_text("none");
  table.add("resume.commit", job.resume.commit, "which of them")
      .range(-1, 100'000'000)
      .default_text("the newest at submit");
  table.add("resume.digest", job.resume.digest, "of its manifest").default_text("what it has at submit");
  table.add("deterministic", job.deterministic,
            "strictly plan order, so that a replay is the same bit for bit");
  table
      .add("gradient_scale", job.gradient_scale,
           "average over the microbatches a stage saw (visited) or over all of the step (step)")
      .one_of({"visited", "step"});

  ModelSpec& model = job.model;
  table.add("model.vocab_size", model.vocab_size, "tokens in the vocabulary").range(2, 1 << 24);
  table.add("model.hidden_size", model.hidden_size, "width of the residual stream")
      .required()
      .range(1, 65'536);
  table.add("model.intermediate_size", model.intermediate_size, "width of the SwiGLU block")
      .required()
      .range(1, 1 << 20);
  table.add("model.num_hidden_layers", model.num_hidden_layers, "decoder layers, over all stages")
      .required()
      .range(1, 4'096);
  table.add("model.num_attention_heads", model.num_attention_heads, "query heads").required().range(1, 4'096);
  table.add("model.num_key_value_heads", model.num_key_value_heads, "key and value heads")
      .range(1, 4'096)
      .default_text("num_attention_heads");
  table.add("model.head_dim", model.head_dim, "width of one head")
      .range(2, 4'096)
      .default_text("hidden_size / num_attention_heads");
  table
      .add("model.max_position_embeddings", model.max_position_embeddings,
           "longest sequence the model is made for")
      .range(1, 1 << 24)
      .default_text("data.sequence_length");
  table.add("model.rms_norm_eps", model.rms_norm_eps, "added to the mean square").above(0).below(1);
  table.add("model.rope_theta", model.rope_theta, "base of the rotary embedding").above(1);
  table.add("model.initializer_range", model.initializer_range, "standard deviation of new weights")
      .above(0)
      .below(1e3);
  table.add("model.tie_word_embeddings", model.tie_word_embeddings, "the head uses the embedding's weights");
  table.add_unavailable("model.hidden_act", "activation of the SwiGLU block").only("silu");
  table.add_unavailable("model.attention_bias", "biases in attention").only(false);
  table.add_unavailable("model.mlp_bias", "biases in the SwiGLU block").only(false);
  table.add_unavailable("model.rope_scaling", "longer contexts than trained on").only(nullptr);

  add_pipeline_keys(table, job.pipeline);

  DataSpec& data = job.data;
  table.add("data.path", data.path, "text or token file, .zst or not, as a path on the nodes that have it")
      .default_text("required, or data.files");
  table.add_list("data.files", data.files, data_file_table, "several files instead of one");
  table
      .add("data.digest", data.digest,
           "\"sha256:\" and 64 hexadecimal digits of the file; where there are several, or a tokenizer's "
           "file: "
           "of each in turn, with a space between")
      .default_text("what the files have at submit");
  table.add("data.format", data.format, "what the files hold").one_of({"text", "jsonl", "tokens"});
  table.add("data.field", data.field, "of each object of a .jsonl, the key that holds its text");
  table.add("data.tokenizer", data.tokenizer, "how text becomes tokens").one_of({"bytes", "sentencepiece"});
  table.add("data.tokenizer_path", data.tokenizer_path, "the SentencePiece model, as a path on the nodes")
      .default_text("required for \"sentencepiece\"");
  table.add("data.tokenizer_digest", data.tokenizer_digest, "of the SentencePiece model")
      .default_text("what it has at submit");
  table.add("data.token_type", data.token_type, "of a token file").one_of({"uint16", "uint32"});
  table.add("data.sequence_length", data.sequence_length, "tokens a sequence is trained on")
      .required()
      .range(1, 1 << 20);
  table.add("data.validation_share", data.validation_share, "last part of each file, never trained on")
      .at_least(0)
      .below(1);

  OptimizerSpec& optimizer = job.optimizer;
  table.add("optimizer.name", optimizer.name, "which optimizer").one_of({"adamw"});
  table.add("optimizer.learning_rate", optimizer.learning_rate, "at its highest")
      .required()
      .above(0)
      .below(100);
  table.add("optimizer.beta1", optimizer.beta1, "decay of the first moment").at_least(0).below(1);
  table.add("optimizer.beta2", optimizer.beta2, "decay of the second moment").at_least(0).below(1);
  table.add("optimizer.eps", optimizer.eps, "added to the root of the second moment").above(0).below(1);
  table.add("optimizer.weight_decay", optimizer.weight_decay, "decoupled from the gradient").range(0, 10);
  table.add("optimizer.clip_norm", optimizer.clip_norm, "largest gradient norm of a stage; 0: no clipping")
      .at_least(0);
  table.add("optimizer.warmup_steps", optimizer.warmup_steps, "steps of linear rise").range(0, 100'000'000);
  table.add("optimizer.schedule", optimizer.schedule, "learning rate after the warm-up")
      .one_of({"cosine", "constant"});
  table.add("optimizer.final_ratio", optimizer.final_ratio, "of learning_rate, at the last step of a cosine")
      .range(0, 1);
  table
      .add("optimizer.non_finite_max", optimizer.non_finite_max,
           "steps in a row whose loss or gradient is not finite, and which make no update, before the job "
           "ends "
           "as failed with its last good state saved; 0: it never does")
      .range(0, 1'000'000);

  table.add("validation.every", job.validation.every, "commits between two validations; 0: never")
      .range(0, 100'000'000);
  table.add("validation.microbatches", job.validation.microbatches, "microbatches of one validation")
      .range(1, 65'536);
  table.add_own("validation.skip",
                {"a list of numbers from 0 to 0.99", [&job] { return nlohmann::json(job.validation.skip); },
                 [&job](const nlohmann::json& value) { return read_skips(value, job.validation.skip); }},
                "shares of the stages to leave out in further validations of the same weights");

  add_recovery_keys(table, job.recovery);
  add_failure_keys(table, job.failures);
  return table;
}

bool is_name(const std::string& name) {
  const auto letter_or_digit = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  // The name becomes a folder of the scheduler's data.
  return !name.empty() && name.size() <= 64 && letter_or_digit(name[0]) &&
         std::all_of(name.begin(), name.end(),
                     [&](char c) { return letter_or_digit(c) || c == '.' || c == '_' || c == '-'; });
}

bool is_digest(const std::string& digest) {
  constexpr std::string_view prefix = "sha256:";
  return digest.starts_with(prefix) && digest.size() == prefix.size() + 64 &&
         digest.find_first_not_of("0123456789abcdef", prefix.size()) == std::string::npos;
}

// How the fields fit together. Each check waits for its own fields to be right alone.
void check_model(JobSpec& job, bool head_dim_given, Problems& problems) {
  ModelSpec& model = job.model;
  const std::int64_t heads = model.num_attention_heads;
  const bool heads_known = problems.sound({"model.num_attention_heads"});
  if (model.num_key_value_heads == 0) model.num_key_value_heads = heads;
  if (heads_known && problems.sound({"model.num_key_value_heads"}) && heads % model.num_key_value_heads != 0)
    problems.add_key("model.num_attention_heads", std::to_string(heads) + " heads do not divide by " +
                                                      std::to_string(model.num_key_value_heads) +
                                                      " key and value heads");
  if (!head_dim_given && heads_known && problems.sound({"model.hidden_size"})) {
    model.head_dim = model.hidden_size / heads;
    if (model.hidden_size % heads != 0)
      problems.add_key("model.hidden_size", std::to_string(model.hidden_size) + " does not divide by " +
                                                std::to_string(heads) +
                                                " heads; change one of them or give \"model.head_dim\"");
    else if (model.head_dim % 2 != 0)
      problems.add_key("model.hidden_size", "head_dim (hidden_size / num_attention_heads) is " +
                                                std::to_string(model.head_dim) +
                                                "; the rotary embedding needs an even one");
  } else if (head_dim_given && model.head_dim % 2 != 0) {
    problems.add_key("model.head_dim", "value " + std::to_string(model.head_dim) +
                                           " is odd; the rotary embedding needs an even one");
  }
  if (job.data.format != "tokens" && job.data.tokenizer == "bytes" && model.vocab_size < 256)
    problems.add_key("model.vocab_size", "value " + std::to_string(model.vocab_size) +
                                             " is too small, the bytes tokenizer needs at least 256");
  if (!problems.sound({"data.sequence_length", "model.max_position_embeddings"})) return;
  if (model.max_position_embeddings == 0) model.max_position_embeddings = job.data.sequence_length;
  if (job.data.sequence_length > model.max_position_embeddings)
    problems.add_key("data.sequence_length", "value " + std::to_string(job.data.sequence_length) +
                                                 " is more than model.max_position_embeddings, " +
                                                 std::to_string(model.max_position_embeddings));
}

void check_stages(const JobSpec& job, Problems& problems) {
  if (!problems.sound({"pipeline.stages", "pipeline.stage_0_layers", "model.num_hidden_layers"})) return;
  const std::int64_t layers = job.model.num_hidden_layers;
  const std::int64_t stages = job.pipeline.stages;
  if (!job.pipeline.stage_0_layers && stages < 2) {
    problems.add_key("pipeline.stages", "at least 2 are needed where stage 0 holds no layers");
    return;
  }
  const std::int64_t with_layers = job.pipeline.stage_0_layers ? stages : stages - 1;
  const std::string stages_text = std::to_string(with_layers) +
                                  (job.pipeline.stage_0_layers ? " stages" : " stages (stage 0 holds none)");
  if (with_layers > layers)
    problems.add_key("pipeline.stages", stages_text + " are too many for " + std::to_string(layers) +
                                            " layers, each needs at least one");
  else if (layers % with_layers != 0)
    problems.add_key("model.num_hidden_layers",
                     std::to_string(layers) + " layers do not divide into " + stages_text);
}

void check_digest(const char* key, const std::string& digest, Problems& problems) {
  if (!digest.empty() && !is_digest(digest))
    problems.add_key(key, nlohmann::json(digest).dump() +
                              " is not a digest: \"sha256:\" and 64 hexadecimal digits (0-9, a-f)");
}

// One digest a file, with a space between.
void check_digests(const DataSpec& data, std::size_t files, Problems& problems) {
  std::size_t count = 0;
  for (std::size_t begin = 0; begin <= data.digest.size(); ++count) {
    const std::size_t end = std::min(data.digest.find(' ', begin), data.digest.size());
    check_digest("data.digest", data.digest.substr(begin, end - begin), problems);
    begin = end + 1;
  }
  if (problems.sound({"data.digest"}) && count != files)
    problems.add_key("data.digest", "has " + std::to_string(count) + " digests for " + std::to_string(files) +
                                        " files, the tokenizer's included");
}

void check_data(const DataSpec& data, Problems& problems) {
  constexpr std::size_t files_max = 64;
  if (problems.sound({"data.path", "data.files"})) {
    if (data.path.empty() && data.files.empty())
      problems.add_missing("data.path", "the file to train on; several: \"data.files\"");
    if (!data.path.empty() && !data.files.empty())
      problems.add_key("data.files", "name \"data.path\" or \"data.files\", not both");
    if (data.files.size() > files_max)
      problems.add_key("data.files", std::to_string(data.files.size()) + " files are too many, at most " +
                                         std::to_string(files_max) + " allowed");
  }
  for (std::size_t i = 0; i < data.files.size(); ++i)
    check_digest(("data.files[" + std::to_string(i) + "].digest").c_str(), data.files[i].digest, problems);
  if (problems.sound({"data.tokenizer"})) {
    const bool sentencepiece = data.tokenizer == "sentencepiece";
    if (sentencepiece && data.tokenizer_path.empty())
      problems.add_missing("data.tokenizer_path", "the SentencePiece model (.model)");
    if (sentencepiece && data.format == "tokens")
      problems.add_key("data.tokenizer", "a token file needs no tokenizer");
    if (!sentencepiece && !data.tokenizer_path.empty())
      problems.add_key("data.tokenizer_path", "is only for \"data.tokenizer\": \"sentencepiece\"");
  }
  if (data.format == "jsonl" && data.field.empty()) problems.add_key("data.field", "must not be empty");
  check_digest("data.tokenizer_digest", data.tokenizer_digest, problems);
  if (!data.digest.empty())
    check_digests(data, data.all_files().size() + (data.tokenizer_path.empty() ? 0 : 1), problems);
}

void check_rest(const JobSpec& job, Problems& problems) {
  if (problems.sound({"name"}) && !is_name(job.name))
    problems.add_key("name",
                     nlohmann::json(job.name).dump() +
                         " is not a name: a letter or digit, then letters, digits, '.', '_' and '-', at "
                         "most 64 together");
  check_digest("init_from_digest", job.init_from_digest, problems);
  if (job.init_from.empty() && !job.init_from_digest.empty())
    problems.add_key("init_from_digest", "is of the folder that \"init_from\" names, which is missing");
  check_digest("resume.digest", job.resume.digest, problems);
  if (!job.resume.directory.empty() && job.resume.directory.front() != '/')
    problems.add_key("resume.directory",
                     nlohmann::json(job.resume.directory).dump() +
                         " is not an absolute path; every node has to see the same folder");
  if (!job.resume.directory.empty() && !job.init_from.empty())
    problems.add_key("init_from", "a job that resumes from a checkpoint has its weights from there");
  if (problems.sound({"steps", "resume.commit", "validation.every"}) && job.resume.commit >= job.final_step())
    problems.add_key("steps", "value " + std::to_string(job.steps) +
                                  " leaves nothing to train after commit " +
                                  std::to_string(job.resume.commit) + ", from which the job resumes");
  if (problems.sound({"steps"}) && job.optimizer.warmup_steps > job.steps)
    problems.add_key("optimizer.warmup_steps", "value " + std::to_string(job.optimizer.warmup_steps) +
                                                   " is more than steps, " + std::to_string(job.steps));
  if (job.validation.every > 0 && job.data.validation_share == 0)
    problems.add_key("validation.every", "validation needs held-out data; \"data.validation_share\" is 0");
  // Within int64: the table's bounds multiply to less than 2^55.
  const auto activation_bytes = static_cast<std::int64_t>(job.activation_bytes());
  if (activation_bytes > activation_bytes_max)
    problems.add_key("pipeline.microbatch_size",
                     "a microbatch's activations have " + std::to_string(activation_bytes) +
                         " bytes (microbatch_size x sequence_length x hidden_size), at most " +
                         std::to_string(activation_bytes_max) + " can travel");
}

}  // namespace

std::vector<DataFile> DataSpec::all_files() const {
  if (!files.empty()) return files;
  return {{path, "", 1}};
}

std::string DataSpec::name() const {
  if (files.size() < 2) return files.empty() ? path : files.front().path;
  return files.front().path + " (and " + std::to_string(files.size() - 1) + " more)";
}

std::int64_t JobSpec::first_layer(std::int64_t stage) const {
  if (pipeline.stage_0_layers) return stage * layer_count(stage);
  return stage == 0 ? 0 : (stage - 1) * layer_count(stage);
}

std::int64_t JobSpec::layer_count(std::int64_t stage) const {
  SIDESTEP_ASSERT(stage >= 0 && stage < pipeline.stages);
  if (pipeline.stage_0_layers) return model.num_hidden_layers / pipeline.stages;
  return stage == 0 ? 0 : model.num_hidden_layers / (pipeline.stages - 1);
}

void JobSpec::resolve_precision(bool on_gpus) {
  if (precision == "auto") precision = on_gpus ? "bfloat16" : "float32";
}

net::DType JobSpec::activation_dtype() const {
  return precision == "bfloat16" ? net::DType::bfloat16 : net::DType::float32;
}

std::uint64_t JobSpec::activation_bytes() const {
  return static_cast<std::uint64_t>(pipeline.microbatch_size * data.sequence_length * model.hidden_size) *
         net::size_of(activation_dtype());
}

std::int64_t JobSpec::tokens_per_step() const {
  return pipeline.microbatches_per_step * pipeline.microbatch_size * data.sequence_length;
}

double JobSpec::learning_rate(std::int64_t step) const {
  if (step <= optimizer.warmup_steps)
    return optimizer.learning_rate * static_cast<double>(step) / static_cast<double>(optimizer.warmup_steps);
  if (optimizer.schedule == "constant") return optimizer.learning_rate;
  const double progress = static_cast<double>(step - optimizer.warmup_steps) /
                          static_cast<double>(steps - optimizer.warmup_steps);
  const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * std::min(progress, 1.0)));
  return optimizer.learning_rate * (optimizer.final_ratio + (1 - optimizer.final_ratio) * cosine);
}

std::int64_t JobSpec::evaluations_in(std::int64_t step) const {
  const std::int64_t commit = step - 1;
  if (validation.every == 0 || commit < 1 || commit > steps) return 0;
  if (commit % validation.every != 0 && commit != steps) return 0;
  return validation.microbatches * static_cast<std::int64_t>(1 + validation.skip.size());
}

std::int64_t JobSpec::final_step() const { return validation.every > 0 ? steps + 1 : steps; }

Result<JobSpec> parse_job(const nlohmann::json& json, const std::string& source) {
  JobSpec job;
  Problems problems(source);
  job_table(job).read(json, problems);
  if (!json.is_object()) return problems.status();
  check_model(job, OptionTable::has(json, "model.head_dim"), problems);
  check_stages(job, problems);
  check_pipeline(job.pipeline, job.steps, problems);
  check_recovery(job.recovery, job.pipeline.stages, job.pipeline.max_swaps, problems);
  check_failures(job.failures, job.pipeline.stages, job.steps, problems);
  check_data(job.data, problems);
  check_rest(job, problems);
  if (!problems.empty()) return problems.status();
  return job;
}

Result<JobSpec> load_job(const std::string& path) {
  const Result<nlohmann::json> json = load_json_file(path);
  if (!json.ok()) return json.status();
  return parse_job(json.value(), path);
}

nlohmann::json to_json(const JobSpec& job) {
  JobSpec copy = job;  // a table points at fields that it could also write
  return job_table(copy).to_json();
}

std::string job_keys_markdown() {
  JobSpec defaults;
  return job_table(defaults).markdown();
}

}  // namespace sidestep::scheduler

#include "daemon/generate_command.h"

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "daemon/cli/app.h"
#include "daemon/cli/flags.h"
#include "daemon/cli/operator_config.h"
#include "daemon/data/data_report.h"
#include "daemon/executor/device.h"
#include "daemon/executor/task_text.h"
#include "daemon/export_job.h"
#include "daemon/generate/generation.h"
#include "daemon/generate/model_text.h"
#include "daemon/generate/perplexity.h"
#include "daemon/generate/text_stream.h"
#include "daemon/model/predictor.h"
#include "net/clock.h"

namespace sidestep {
namespace {

using cli::GenerateRequest;

constexpr std::int64_t sequence_length_unasked_max = 1024;

Status stop_when_interrupted(const char* what, std::uint64_t done) {
  return cli::interrupted() ? Status::refused("interrupted after " + std::to_string(done) + " " + what)
                            : Status();
}

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

// Shows samples as they are made; text, or token numbers where `tokenizer` is null.
class Printer : public daemon::GenerationSink {
 public:
  Printer(const GenerateRequest& request, std::vector<std::int64_t> prompt, std::string prompt_text,
          const daemon::Tokenizer* tokenizer)
      : request_(request),
        prompt_(std::move(prompt)),
        prompt_text_(std::move(prompt_text)),
        tokenizer_(tokenizer) {}

  Status begin_sample(std::int64_t sample) override {
    sample_ = sample;
    tokens_.clear();
    text_.clear();
    start_us_ = net::monotonic_us();
    if (tokenizer_ != nullptr) stream_.emplace(*tokenizer_, prompt_);
    if (request_.json) return {};
    if (request_.samples > 1) print("--- sample " + std::to_string(sample + 1) + "\n");
    print(prompt_text_);
    return {};
  }

  Status add(std::int64_t token) override {
    tokens_.push_back(token);
    ++made_;
    if (stream_)
      show(stream_->add(token));
    else
      show((tokens_.size() == 1 ? "" : ",") + std::to_string(token));
    return stop_when_interrupted("tokens", made_);
  }

  Status end_sample(bool at_end) override {
    if (stream_) show(stream_->finish());
    if (!request_.json) {
      print("\n");
      return {};
    }
    nlohmann::json line{{"sample", sample_},
                        {"prompt_tokens", prompt_},
                        {"tokens", tokens_},
                        {"end", at_end ? "end" : "length"},
                        {"seconds", static_cast<double>(net::monotonic_us() - start_us_) / 1e6}};
    if (stream_) line.update({{"prompt", prompt_text_}, {"text", text_}});
    print(line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    return {};
  }

  std::uint64_t made() const { return made_; }

 private:
  void show(const std::string& text) {
    if (request_.json)
      text_ += text;
    else
      print(text);
  }

  const GenerateRequest& request_;
  std::vector<std::int64_t> prompt_;
  std::string prompt_text_;
  const daemon::Tokenizer* tokenizer_;
  std::optional<daemon::TextStream> stream_;
  std::int64_t sample_ = 0;
  std::int64_t start_us_ = 0;
  std::uint64_t made_ = 0;
  std::vector<std::int64_t> tokens_;
  std::string text_;
};

Result<std::string> read_prompt(const GenerateRequest& request) {
  if (request.prompt_file.empty()) return request.prompt;
  if (request.prompt_file == "-") return std::string(std::istreambuf_iterator<char>(std::cin), {});
  std::ifstream file(request.prompt_file, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (!file) return Status::io("--prompt-file: " + request.prompt_file + " cannot be read");
  return text;
}

std::string limit_of(const daemon::HfFolder& folder) {
  return "\"max_position_embeddings\" in " + folder.path() + "/" + daemon::config_file_name;
}

Result<std::unique_ptr<daemon::Predictor>> load(const GenerateRequest& request,
                                                const daemon::HfFolder& folder, daemon::StageCut cut,
                                                std::int64_t positions) {
  if (const auto device = daemon::open_device(request.device); !device.ok())
    return device.status().with_context("--device");
  const auto cores = static_cast<std::int64_t>(std::max(1u, std::thread::hardware_concurrency()));
  at::set_num_threads(static_cast<int>(request.threads > 0 ? request.threads : cores));
  return daemon::Predictor::load(folder, {request.device, request.precision, std::move(cut), positions});
}

Status sample(const GenerateRequest& request, const daemon::HfFolder& folder, daemon::StageCut cut) {
  const auto text = daemon::open_model_text(folder);
  if (!text.ok()) return text.status();
  std::string prompt_text;
  std::vector<std::int64_t> prompt = request.prompt_tokens;
  if (prompt.empty()) {
    auto read = read_prompt(request);
    if (!read.ok()) return read.status();
    prompt_text = std::move(read).value();
    auto encoded = text.value().encode(prompt_text);
    if (!encoded.ok()) return encoded.status();
    prompt = std::move(encoded).value();
  }
  for (const std::int64_t token : prompt)
    if (token < 0 || token >= folder.model().vocab_size)
      return Status::invalid("token " + std::to_string(token) + " of the prompt is outside the model's " +
                             std::to_string(folder.model().vocab_size) + " tokens");
  const auto tokens = daemon::tokens_to_make(std::ssize(prompt), request.max_tokens,
                                             folder.model().max_position_embeddings, limit_of(folder));
  if (!tokens.ok()) return tokens.status();

  const std::int64_t start_us = net::monotonic_us();
  auto model = load(request, folder, std::move(cut), std::ssize(prompt) + tokens.value());
  if (!model.ok()) return model.status();
  const std::int64_t loaded_us = net::monotonic_us();
  daemon::GenerationOptions options;
  options.tokens = tokens.value();
  options.samples = request.samples;
  options.sampling = {request.temperature, request.top_k, request.top_p};
  options.seed = request.seed;
  options.ends = text.value().ends;
  const bool shows_text = request.prompt_tokens.empty();
  Printer printer(request, prompt, prompt_text, shows_text ? text.value().tokenizer.get() : nullptr);
  const Status status = daemon::generate(*model.value(), prompt, options, printer);
  if (!status.ok() && !request.json) print("\n");
  if (!status.ok()) return status.with_context(folder.path());
  if (!request.json)
    std::fprintf(stderr, "%llu tokens, %.1f tokens/s; loaded in %.1f s\n",
                 static_cast<unsigned long long>(printer.made()),
                 static_cast<double>(printer.made()) /
                     std::max(1e-6, static_cast<double>(net::monotonic_us() - loaded_us) / 1e6),
                 static_cast<double>(loaded_us - start_us) / 1e6);
  return {};
}

Status measure(const GenerateRequest& request, const daemon::HfFolder& folder, daemon::StageCut cut) {
  const std::int64_t positions = folder.model().max_position_embeddings;
  const std::int64_t length =
      request.sequence_length.value_or(std::min(positions, sequence_length_unasked_max));
  if (length > positions)
    return Status::invalid("--sequence-length: value " + std::to_string(length) + " is too large, " +
                           limit_of(folder) + " allows " + std::to_string(positions));
  scheduler::DataSpec spec;
  spec.path = request.perplexity;
  spec.format = daemon::format_of(spec.path);
  spec.token_type = daemon::token_type_of(spec.path, spec.token_type);
  spec.sequence_length = 1;  // the windows here may be shorter at the end
  spec.validation_share = 0;
  if (spec.format != "tokens") {
    const auto text = daemon::open_model_text(folder);
    if (!text.ok()) return text.status();
    if (Status status = daemon::use_tokenizer_of(folder, text.value(), spec); !status.ok()) return status;
  }
  const auto data = daemon::Dataset::open(spec, folder.model().vocab_size, /*needs_validation=*/false);
  if (!data.ok()) return data.status();
  auto model = load(request, folder, std::move(cut), length);
  if (!model.ok()) return model.status();
  const auto measured = daemon::measure_perplexity(
      *model.value(), *data.value(), length,
      [](std::uint64_t done, std::uint64_t) { return stop_when_interrupted("tokens", done); });
  if (!measured.ok()) return measured.status().with_context(folder.path());
  const daemon::Perplexity& result = measured.value();
  if (request.json)
    print(nlohmann::json{{"file", spec.path},
                         {"digest", data.value()->digest()},
                         {"tokens", result.tokens},
                         {"sequence_length", length},
                         {"loss", result.loss},
                         {"perplexity", result.perplexity()}}
              .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) +
          "\n");
  else
    std::printf("%llu tokens of %s: loss %.4f nats a token, perplexity %.2f\n",
                static_cast<unsigned long long>(result.tokens), spec.path.c_str(), result.loss,
                result.perplexity());
  return {};
}

Status run(const GenerateRequest& request) {
  const auto folder = daemon::HfFolder::open(request.model);
  if (!folder.ok()) return folder.status();
  auto cut = daemon::cut_stages(folder.value(), request.stages, request.skip_stages);
  if (!cut.ok()) return cut.status();
  return request.perplexity.empty() ? sample(request, folder.value(), std::move(cut).value())
                                    : measure(request, folder.value(), std::move(cut).value());
}

// Gone with all that is in it.
class TemporaryExport {
 public:
  static Result<TemporaryExport> make(const GenerateRequest& request) {
    std::string name = (std::filesystem::temp_directory_path() / "sidestep-model.XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr)
      return Status::io(name + ": cannot be made: " + std::strerror(errno));
    TemporaryExport made(name);
    auto client = cli::connect({request.config, request.json});
    if (!client.ok()) return client.status();
    const auto tell = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
    const auto exported = export_job(*client.value(), {request.job, made.model(), "float32"}, tell);
    if (!exported.ok()) return exported.status();
    return std::move(made);
  }
  ~TemporaryExport() {
    std::error_code error;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, error);
  }
  TemporaryExport(TemporaryExport&& other) noexcept : folder_(std::exchange(other.folder_, {})) {}
  TemporaryExport& operator=(TemporaryExport&&) = delete;

  std::string model() const { return folder_ + "/model"; }

 private:
  explicit TemporaryExport(std::string folder) : folder_(std::move(folder)) {}
  std::string folder_;
};

int generate_from_folder(const GenerateRequest& request) {
  Status status;
  try {
    status = run(request);
  } catch (const c10::Error& error) {
    status = Status::internal(daemon::memory_text(error.what_without_backtrace()));
  } catch (const std::bad_alloc&) {
    status = Status::internal("out of memory");
  }
  return status.ok() ? static_cast<int>(cli::exit_ok) : cli::fail(status);
}

}  // namespace

int run_generate_command(const GenerateRequest& request) {
  cli::catch_interrupts();
  if (request.job.empty()) return generate_from_folder(request);
  const auto exported = TemporaryExport::make(request);
  if (!exported.ok()) return cli::fail(exported.status());
  GenerateRequest of_folder = request;
  of_folder.model = exported.value().model();
  return generate_from_folder(of_folder);
}

}  // namespace sidestep

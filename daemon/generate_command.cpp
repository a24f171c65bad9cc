#include "daemon/generate_command.h"

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
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
#include "daemon/scratch_folder.h"
#include "net/clock.h"

namespace sidestep {
namespace {

using cli::GenerateRequest;

constexpr std::int64_t sequence_length_unasked_max = 1024;

Status stop_when_interrupted(const char* what, std::uint64_t done) {
  return cli::interrupted() ? Status::refused("interrupted after " + std::to_string(done) + " " + what)
                            : Status();
}

using Loaded = std::function<void()>;

Status print(const std::string& text) {
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return {};
  return Status::io(std::string("standard output cannot be written: ") + std::strerror(errno));
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
    const std::string title =
        request_.samples > 1 ? "--- sample " + std::to_string(sample + 1) + "\n" : std::string();
    return print(title + prompt_text_);
  }

  Status add(std::int64_t token) override {
    tokens_.push_back(token);
    ++made_;
    const std::string text =
        stream_ ? stream_->add(token) : (tokens_.size() == 1 ? "" : ",") + std::to_string(token);
    if (Status status = show(text); !status.ok()) return status;
    return stop_when_interrupted("tokens", made_);
  }

  Status end_sample(bool at_end) override {
    if (stream_)
      if (Status status = show(stream_->finish()); !status.ok()) return status;
    if (!request_.json) return print("\n");
    nlohmann::json line{{"sample", sample_},
                        {"prompt_tokens", prompt_},
                        {"tokens", tokens_},
                        {"end", at_end ? "end" : "length"},
                        {"seconds", static_cast<double>(net::monotonic_us() - start_us_) / 1e6}};
    if (stream_) line.update({{"prompt", prompt_text_}, {"text", text_}});
    return print(line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  }

  std::uint64_t made() const { return made_; }

 private:
  Status show(const std::string& text) {
    if (!request_.json) return print(text);
    text_ += text;
    return {};
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

Status sample(const GenerateRequest& request, const daemon::HfFolder& folder, daemon::StageCut cut,
              const Loaded& loaded) {
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
  loaded();
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
  if (status.code() == Code::io) return status;
  if (!status.ok()) {
    if (!request.json) (void)print("\n");  // so that the reason begins a line
    return status.with_context(folder.path());
  }
  if (!request.json)
    std::fprintf(stderr, "%llu tokens, %.1f tokens/s; loaded in %.1f s\n",
                 static_cast<unsigned long long>(printer.made()),
                 static_cast<double>(printer.made()) /
                     std::max(1e-6, static_cast<double>(net::monotonic_us() - loaded_us) / 1e6),
                 static_cast<double>(loaded_us - start_us) / 1e6);
  return {};
}

Status measure(const GenerateRequest& request, const daemon::HfFolder& folder, daemon::StageCut cut,
               const Loaded& loaded) {
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
  loaded();
  const auto measured = daemon::measure_perplexity(
      *model.value(), *data.value(), length,
      [](std::uint64_t done, std::uint64_t) { return stop_when_interrupted("tokens", done); });
  if (!measured.ok()) return measured.status().with_context(folder.path());
  const daemon::Perplexity& result = measured.value();
  if (request.json)
    return print(nlohmann::json{{"file", spec.path},
                                {"digest", data.value()->digest()},
                                {"tokens", result.tokens},
                                {"sequence_length", length},
                                {"loss", result.loss},
                                {"perplexity", result.perplexity()}}
                     .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) +
                 "\n");
  std::array<char, 128> numbers{};
  std::snprintf(numbers.data(), numbers.size(), ": loss %.4f nats a token, perplexity %.2f\n", result.loss,
                result.perplexity());
  return print(std::to_string(result.tokens) + " tokens of " + spec.path + numbers.data());
}

Status run(const GenerateRequest& request, const Loaded& loaded) {
  const auto folder = daemon::HfFolder::open(request.model);
  if (!folder.ok()) return folder.status();
  auto cut = daemon::cut_stages(folder.value(), request.stages, request.skip_stages);
  if (!cut.ok()) return cut.status();
  return request.perplexity.empty() ? sample(request, folder.value(), std::move(cut).value(), loaded)
                                    : measure(request, folder.value(), std::move(cut).value(), loaded);
}

// The job's weights as a model folder in `scratch`; its path.
Result<std::string> export_into(const ScratchFolder& scratch, const GenerateRequest& request) {
  auto client = cli::connect({request.config, request.json});
  if (!client.ok()) return client.status();
  const auto tell = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
  const std::string model = scratch / "model";
  const auto exported = export_job(*client.value(), {request.job, model}, tell);
  if (!exported.ok()) return exported.status();
  return model;
}

// `loaded` is called when the folder is needed no more.
int generate_from_folder(const GenerateRequest& request, const Loaded& loaded) {
  Status status;
  try {
    status = run(request, loaded);
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
  // A reader that goes away, or a full disk, fails a write with a reason in place of ending the process,
  // which would leave the temporary export behind.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  if (request.job.empty()) return generate_from_folder(request, [] {});
  auto scratch = ScratchFolder::make(std::filesystem::temp_directory_path() / "sidestep-model");
  if (!scratch.ok()) return cli::fail(scratch.status());
  const auto model = export_into(scratch.value(), request);
  if (!model.ok()) return cli::fail(model.status());
  GenerateRequest of_folder = request;
  of_folder.model = model.value();
  return generate_from_folder(of_folder, [&scratch] { scratch.value().remove(); });
}

}  // namespace sidestep

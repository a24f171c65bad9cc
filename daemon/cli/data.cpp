// sidestep data check: what a file holds, before a job is given to it.
#include <cstdio>
#include <memory>

#include "daemon/cli/commands.h"
#include "daemon/cli/flags.h"
#include "daemon/data/data_report.h"

namespace sidestep::cli {
namespace {

struct CheckRequest {
  scheduler::DataSpec spec;
  std::string tokenizer = "bytes";
  std::int64_t vocab_size = 0;
  bool json = false;
};

int check(CheckRequest request) {
  scheduler::DataSpec& spec = request.spec;
  if (spec.format.empty()) spec.format = daemon::format_of(spec.path);
  std::shared_ptr<const daemon::Tokenizer> decoder;
  if (spec.format == "tokens") {
    if (spec.token_type.empty()) spec.token_type = daemon::token_type_of(spec.path, "uint16");
    if (request.tokenizer != "bytes") {
      const auto opened = daemon::open_sentencepiece(request.tokenizer);
      if (!opened.ok()) return fail(opened.status());
      decoder = opened.value();
    }
  } else if (request.tokenizer != "bytes") {
    spec.tokenizer = "sentencepiece";
    spec.tokenizer_path = request.tokenizer;
  }
  const auto report = daemon::report_data(spec, request.vocab_size, decoder.get());
  if (!report.ok()) return fail(report.status());
  if (request.json)
    std::printf(
        "%s\n",
        to_json(report.value()).dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  else
    std::printf("%s", to_text(report.value()).c_str());
  return exit_ok;
}

}  // namespace

void add_data(CLI::App& app, Chosen& chosen) {
  CLI::App* group = app.add_subcommand("data", "Look at files to train on.");
  group->require_subcommand(1);
  auto request = std::make_shared<CheckRequest>();
  request->spec.format.clear();
  request->spec.token_type.clear();
  request->spec.sequence_length = 256;
  CLI::App* command =
      add_command(*group, "check", "Read a file like a node that trains on it; print what it holds.",
                  "sidestep data check corpus.jsonl.zst --tokenizer tokenizer.model --vocab-size 32000");
  command->add_option("file", request->spec.path, "Text, .jsonl or token file, .zst or not")
      ->required()
      ->type_name("FILE");
  command->add_option("--format", request->spec.format, "text, jsonl or tokens; default: by the file's name")
      ->check(one_of({"text", "jsonl", "tokens"}));
  command
      ->add_option("--field", request->spec.field, "Of each object of a .jsonl, the key that holds its text")
      ->capture_default_str();
  command
      ->add_option("--tokenizer", request->tokenizer,
                   "\"bytes\" or a SentencePiece model; for a token file: what decodes the samples")
      ->capture_default_str()
      ->type_name("bytes|MODEL");
  command
      ->add_option("--token-type", request->spec.token_type,
                   "Of a token file; default: what the notes beside it say, else uint16")
      ->check(one_of({"uint16", "uint32"}));
  command->add_option("--sequence-length", request->spec.sequence_length, "Tokens a sequence is trained on")
      ->check(whole_number(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--vocab-size", request->vocab_size, "Of the model: no token may be larger")
      ->check(whole_number(2, 1 << 24));
  command->add_flag("--json", request->json, "Report as JSON");
  command->callback([request, &chosen] { chosen = [request] { return check(*request); }; });
}

}  // namespace sidestep::cli

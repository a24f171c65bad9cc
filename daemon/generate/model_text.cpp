#include "daemon/generate/model_text.h"

#include <filesystem>

#include "scheduler/options.h"

namespace sidestep::daemon {
namespace {

constexpr const char* sentencepiece_name = "tokenizer.model";
constexpr const char* settings_name = "tokenizer_config.json";

std::string in_folder(const HfFolder& folder, const char* name) {
  return (std::filesystem::path(folder.path()) / name).string();
}

bool has(const HfFolder& folder, const char* name) {
  std::error_code ignored;
  return std::filesystem::exists(in_folder(folder, name), ignored);
}

bool is_bytes(const HfFolder& folder) {
  if (!folder.notes().tokenizer.empty()) return folder.notes().tokenizer == "bytes";
  return folder.model().vocab_size == 256 && !has(folder, sentencepiece_name) &&
         !has(folder, "tokenizer.json");
}

// Whether prompts begin with the token that the config names, as LlamaTokenizer's settings say.
Result<bool> adds_begin(const HfFolder& folder) {
  if (!has(folder, settings_name)) return false;
  const auto settings = scheduler::load_json_file(in_folder(folder, settings_name));
  if (!settings.ok()) return settings.status();
  if (!settings.value().is_object()) return false;
  const auto adds = settings.value().find("add_bos_token");
  return adds != settings.value().end() && adds->is_boolean() && adds->get<bool>();
}

}  // namespace

Result<ModelText> open_model_text(const HfFolder& folder) {
  ModelText text;
  const SpecialTokens& special = folder.special_tokens();
  text.ends.insert(special.ends.begin(), special.ends.end());
  if (is_bytes(folder)) {
    text.tokenizer = byte_tokenizer();
  } else if (has(folder, sentencepiece_name)) {
    auto opened = open_sentencepiece(in_folder(folder, sentencepiece_name));
    if (!opened.ok()) return opened.status();
    text.tokenizer = std::move(opened).value();
    if (const auto end = text.tokenizer->separator()) text.ends.insert(*end);
    const auto adds = adds_begin(folder);
    if (!adds.ok()) return adds.status();
    if (adds.value() && special.begin) text.begin.push_back(*special.begin);
  } else if (has(folder, "tokenizer.json")) {
    text.why_none = folder.path() +
                    ": has a tokenizer.json and no tokenizer.model; text cannot be encoded here. Give the "
                    "prompt's token numbers, --prompt-tokens 1,2,3";
  } else {
    text.why_none = folder.path() + ": has no tokenizer, and its model is not of bytes (vocab_size " +
                    std::to_string(folder.model().vocab_size) +
                    "); put its tokenizer.model there, or give token numbers, --prompt-tokens 1,2,3";
  }
  if (text.tokenizer != nullptr && text.tokenizer->vocab_size() > folder.model().vocab_size)
    return Status::invalid(folder.path() + ": its tokenizer has " +
                           std::to_string(text.tokenizer->vocab_size()) + " tokens, \"vocab_size\" in " +
                           config_file_name + " is " + std::to_string(folder.model().vocab_size));
  return text;
}

Result<std::vector<std::int64_t>> ModelText::encode(std::string_view prompt) const {
  if (tokenizer == nullptr) return Status::invalid(why_none);
  std::vector<std::uint32_t> encoded;
  if (Status status = tokenizer->encode(prompt, encoded); !status.ok()) return status;
  std::vector<std::int64_t> tokens = begin;
  tokens.insert(tokens.end(), encoded.begin(), encoded.end());
  if (tokens.empty())
    if (const auto separator = tokenizer->separator()) tokens.push_back(*separator);
  if (tokens.empty())
    return Status::invalid(
        "the prompt is empty, and the tokenizer has no token that begins a text; give one "
        "with --prompt");
  return tokens;
}

Status use_tokenizer_of(const HfFolder& folder, const ModelText& text, scheduler::DataSpec& spec) {
  if (text.tokenizer == nullptr) return Status::invalid(text.why_none);
  if (is_bytes(folder)) return {};
  spec.tokenizer = "sentencepiece";
  spec.tokenizer_path = in_folder(folder, sentencepiece_name);
  return {};
}

}  // namespace sidestep::daemon

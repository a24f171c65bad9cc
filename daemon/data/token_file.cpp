#include "daemon/data/token_file.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "daemon/data/atomic_output.h"
#include "net/assert.h"
#include "scheduler/options.h"

namespace sidestep::daemon {
namespace {

// Little-endian, as every machine this is built for.
template <class Token>
Token load(const std::byte* data, std::uint64_t position) {
  Token token;
  std::memcpy(&token, data + position * sizeof(Token), sizeof(Token));
  return token;
}

template <class Token>
std::optional<std::uint64_t> find_outside(const std::byte* data, std::uint64_t tokens,
                                          std::uint64_t vocab_size) {
  constexpr std::uint64_t block = 4096;
  for (std::uint64_t begin = 0; begin < tokens; begin += block) {
    const std::uint64_t end = std::min(tokens, begin + block);
    Token largest = 0;
    for (std::uint64_t i = begin; i < end; ++i) largest = std::max(largest, load<Token>(data, i));
    if (largest < vocab_size) continue;
    for (std::uint64_t i = begin; i < end; ++i)
      if (load<Token>(data, i) >= vocab_size) return i;
  }
  return std::nullopt;
}

template <class Token>
void copy_tokens(const std::byte* data, std::uint64_t first, std::span<std::int64_t> out) {
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = load<Token>(data, first + i);
}

scheduler::OptionTable notes_table(TokenNotes& notes) {
  scheduler::OptionTable table;
  table.add("tokenizer", notes.tokenizer, "what made the tokens");
  table.add("vocab_size", notes.vocab_size, "tokens in the vocabulary").required().range(1, 4294967296.0);
  table.add("token_type", notes.token_type, "how a token is written")
      .required()
      .one_of({"uint8", "uint16", "uint32"});
  table.add("tokens", notes.tokens, "how many the file holds").required().at_least(0);
  table.add("digest", notes.digest, "of the token file").required();
  return table;
}

}  // namespace

unsigned bytes_per_token(const std::string& type) {
  if (type == "uint8") return 1;
  if (type == "uint16") return 2;
  return type == "uint32" ? 4 : 0;
}

std::string token_type_for(std::int64_t vocab_size) {
  if (vocab_size <= 1 << 8) return "uint8";
  return vocab_size <= 1 << 16 ? "uint16" : "uint32";
}

Result<TokenFile> TokenFile::open(std::shared_ptr<const MappedFile> file, const std::string& type) {
  TokenFile tokens;
  tokens.token_bytes_ = bytes_per_token(type);
  if (tokens.token_bytes_ == 0)
    return Status::invalid(file->path() + ": unknown token type \"" + type + "\"; known: uint16, uint32");
  const std::uint64_t bytes = file->bytes().size();
  if (bytes % tokens.token_bytes_ != 0)
    return Status::invalid(file->path() + ": " + std::to_string(bytes) + " bytes are not a whole number of " +
                           type + " tokens of " + std::to_string(tokens.token_bytes_) + " bytes");
  tokens.tokens_ = bytes / tokens.token_bytes_;
  tokens.file_ = std::move(file);
  return tokens;
}

void TokenFile::read(std::uint64_t first, std::span<std::int64_t> out) const {
  SIDESTEP_ASSERT(first <= tokens_ && out.size() <= tokens_ - first);
  const std::byte* data = file_->bytes().data();
  switch (token_bytes_) {
    case 1:
      return copy_tokens<std::uint8_t>(data, first, out);
    case 2:
      return copy_tokens<std::uint16_t>(data, first, out);
    default:
      return copy_tokens<std::uint32_t>(data, first, out);
  }
}

std::optional<std::uint64_t> TokenFile::first_outside(std::uint64_t vocab_size) const {
  const std::byte* data = file_->bytes().data();
  switch (token_bytes_) {
    case 1:
      return find_outside<std::uint8_t>(data, tokens_, vocab_size);
    case 2:
      return find_outside<std::uint16_t>(data, tokens_, vocab_size);
    default:
      return find_outside<std::uint32_t>(data, tokens_, vocab_size);
  }
}

Result<std::optional<TokenNotes>> TokenNotes::load(const std::string& tokens_path) {
  const std::string path = path_for(tokens_path);
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::optional<TokenNotes>();
  const auto json = scheduler::load_json_file(path);
  if (!json.ok()) return json.status();
  TokenNotes notes;
  scheduler::Problems problems(path);
  notes_table(notes).read(json.value(), problems);
  if (!problems.empty()) return problems.status();
  return std::optional<TokenNotes>(std::move(notes));
}

Status TokenNotes::save(const std::string& tokens_path) const {
  TokenNotes copy = *this;
  return write_file(path_for(tokens_path), notes_table(copy).to_json().dump(2) + "\n");
}

}  // namespace sidestep::daemon

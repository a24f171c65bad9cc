// A file of little-endian tokens, mapped, and the notes beside it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "daemon/data/mapped_file.h"
#include "net/status.h"

namespace sidestep::daemon {

// Bytes of a token of type "uint8", "uint16" or "uint32"; 0 for an unknown name.
unsigned bytes_per_token(const std::string& type);
// The smallest type that holds tokens below `vocab_size`.
std::string token_type_for(std::int64_t vocab_size);

// Value; shares the mapping. Immutable, so any thread may read.
class TokenFile {
 public:
  // Failures name the path: an unknown type, no whole number of tokens.
  static Result<TokenFile> open(std::shared_ptr<const MappedFile> file, const std::string& type);

  std::uint64_t tokens() const { return tokens_; }
  std::span<const std::byte> bytes() const { return file_->bytes(); }
  // Tokens [first, first + out.size()); precondition: they exist.
  void read(std::uint64_t first, std::span<std::int64_t> out) const;
  // Position of the first token that is not below `vocab_size`.
  std::optional<std::uint64_t> first_outside(std::uint64_t vocab_size) const;

 private:
  std::shared_ptr<const MappedFile> file_;
  unsigned token_bytes_ = 1;
  std::uint64_t tokens_ = 0;
};

// What whoever wrote a token file knew, in PATH.json; scripts/prepare-tokens writes the same.
struct TokenNotes {
  std::string tokenizer;  // for people
  std::int64_t vocab_size = 0;
  std::string token_type;
  std::int64_t tokens = 0;
  std::string digest;  // of the token file

  static std::string path_for(const std::string& tokens_path) { return tokens_path + ".json"; }
  // None if the file of notes is not there. Failures name it and what is wrong in it.
  static Result<std::optional<TokenNotes>> load(const std::string& tokens_path);
  Status save(const std::string& tokens_path) const;
};

}  // namespace sidestep::daemon

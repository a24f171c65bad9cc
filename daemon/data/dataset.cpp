#include "daemon/data/dataset.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "net/assert.h"
#include "net/digest.h"

namespace sidestep::daemon {
namespace {

FileIdentity identity_of(const struct stat& status) {
  return {static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino),
          static_cast<std::uint64_t>(status.st_size),
          status.st_mtim.tv_sec * std::int64_t{1'000'000'000} + status.st_mtim.tv_nsec};
}

Status system_error(const std::string& path, const char* what) {
  const int error = errno;
  const std::string text = path + ": " + what + ": " + std::strerror(error);
  return error == ENOENT ? Status::not_found(text) : Status::io(text);
}

Result<unsigned> bytes_per_token(const scheduler::DataSpec& spec) {
  if (spec.format == "text") {
    if (spec.tokenizer == "bytes") return 1u;
    return Status::invalid(spec.path + ": unknown tokenizer \"" + spec.tokenizer + "\"; known: bytes");
  }
  if (spec.format != "tokens")
    return Status::invalid(spec.path + ": unknown format \"" + spec.format + "\"; known: text, tokens");
  if (spec.token_type == "uint16") return 2u;
  if (spec.token_type == "uint32") return 4u;
  return Status::invalid(spec.path + ": unknown token type \"" + spec.token_type +
                         "\"; known: uint16, uint32");
}

// Token files are little-endian, as every machine this is built for.
template <class Token>
Token load(const std::byte* data, std::uint64_t position) {
  Token token;
  std::memcpy(&token, data + position * sizeof(Token), sizeof(Token));
  return token;
}

template <class Token>
std::optional<std::uint64_t> first_outside(const std::byte* data, std::uint64_t tokens,
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

std::string too_short(const scheduler::DataSpec& spec, const char* part, std::uint64_t tokens) {
  return spec.path + ": " + part + " has " + std::to_string(tokens) +
         " tokens, shorter than one sequence of " + std::to_string(spec.sequence_length) +
         " tokens and the one after it";
}

}  // namespace

Result<FileIdentity> identify_file(const std::string& path) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0) return system_error(path, "cannot be looked at");
  return identity_of(status);
}

Result<std::shared_ptr<const Dataset>> Dataset::open(const scheduler::DataSpec& spec, std::int64_t vocab_size,
                                                     bool needs_validation) {
  const auto token_bytes = bytes_per_token(spec);
  if (!token_bytes.ok()) return token_bytes.status();

  const int file = ::open(spec.path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return system_error(spec.path, "cannot be opened");
  struct stat status;
  if (::fstat(file, &status) != 0) {
    const Status failed = system_error(spec.path, "cannot be looked at");
    ::close(file);
    return failed;
  }
  const auto bytes = static_cast<std::uint64_t>(status.st_size);
  if (!S_ISREG(status.st_mode) || bytes == 0) {
    ::close(file);
    return Status::invalid(spec.path + (S_ISREG(status.st_mode) ? ": is empty" : ": is not a regular file"));
  }
  void* mapping = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file, 0);
  const Status mapped = mapping == MAP_FAILED ? system_error(spec.path, "cannot be mapped") : Status();
  ::close(file);
  if (!mapped.ok()) return mapped;

  std::shared_ptr<Dataset> dataset(new Dataset());
  dataset->data_ = static_cast<const std::byte*>(mapping);
  dataset->identity_ = identity_of(status);
  dataset->token_bytes_ = token_bytes.value();
  if (bytes % dataset->token_bytes_ != 0)
    return Status::invalid(spec.path + ": " + std::to_string(bytes) + " bytes are not a whole number of " +
                           spec.token_type + " tokens of " + std::to_string(dataset->token_bytes_) +
                           " bytes");
  dataset->tokens_ = bytes / dataset->token_bytes_;
  const auto held_out =
      static_cast<std::uint64_t>(static_cast<double>(dataset->tokens_) * spec.validation_share);
  dataset->training_tokens_ = dataset->tokens_ - std::min(held_out, dataset->tokens_);
  const auto needed = static_cast<std::uint64_t>(spec.sequence_length) + 1;
  if (dataset->tokens_ < needed) return Status::invalid(too_short(spec, "the file", dataset->tokens_));
  if (dataset->training_tokens_ < needed)
    return Status::invalid(too_short(spec, "the part to train on", dataset->training_tokens_));
  if (needs_validation && dataset->validation_tokens() < needed)
    return Status::invalid(too_short(spec, "the held-out part", dataset->validation_tokens()) +
                           "; raise \"data.validation_share\"");

  dataset->digest_ = net::sha256({dataset->data_, bytes});
  if (!spec.digest.empty() && spec.digest != dataset->digest_)
    return Status::invalid(spec.path + ": has digest " + dataset->digest_ + ", the job wants " + spec.digest);

  const auto vocabulary = static_cast<std::uint64_t>(vocab_size);
  std::optional<std::uint64_t> outside;
  switch (dataset->token_bytes_) {
    case 1:
      outside = first_outside<std::uint8_t>(dataset->data_, dataset->tokens_, vocabulary);
      break;
    case 2:
      outside = first_outside<std::uint16_t>(dataset->data_, dataset->tokens_, vocabulary);
      break;
    default:
      outside = first_outside<std::uint32_t>(dataset->data_, dataset->tokens_, vocabulary);
      break;
  }
  if (outside) {
    std::int64_t token = 0;
    dataset->read(*outside, {&token, 1});
    return Status::invalid(spec.path + ": token " + std::to_string(token) + " at position " +
                           std::to_string(*outside) + " is outside the vocabulary of " +
                           std::to_string(vocab_size) + " (\"model.vocab_size\")");
  }
  return std::shared_ptr<const Dataset>(std::move(dataset));
}

Dataset::~Dataset() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), identity_.bytes);
}

void Dataset::read(std::uint64_t first, std::span<std::int64_t> out) const {
  SIDESTEP_ASSERT(first <= tokens_ && out.size() <= tokens_ - first);
  switch (token_bytes_) {
    case 1:
      return copy_tokens<std::uint8_t>(data_, first, out);
    case 2:
      return copy_tokens<std::uint16_t>(data_, first, out);
    default:
      return copy_tokens<std::uint32_t>(data_, first, out);
  }
}

}  // namespace sidestep::daemon

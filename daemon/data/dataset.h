// The job's text as a row of tokens: a memory-mapped file, checked once when it is opened.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "net/status.h"
#include "scheduler/job.h"

namespace sidestep::daemon {

// What the file was when it was opened; another identity means that it has to be opened again.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t bytes = 0;
  std::int64_t modified_ns = 0;
  bool operator==(const FileIdentity&) const = default;
};

Result<FileIdentity> identify_file(const std::string& path);

// Owner: whoever opened it; it holds the mapping until it is destroyed. Immutable, so any thread may
// read. The file must not be cut short meanwhile: that is the one fault a mapping cannot contain.
//
// The first training_tokens() tokens are trained on, the rest are held out for validation.
class Dataset {
 public:
  // Reads the whole file once: for its digest and to see that every token is below `vocab_size`.
  // Every failure names the path: missing, empty, no whole number of tokens, fewer than
  // sequence_length + 1 tokens to train on, a token outside the vocabulary (with its position), another
  // digest than `spec.digest` (if that is not empty), an unknown format, tokenizer or token type.
  // With `needs_validation` the held-out part has to hold a sequence too.
  static Result<std::shared_ptr<const Dataset>> open(const scheduler::DataSpec& spec, std::int64_t vocab_size,
                                                     bool needs_validation);
  ~Dataset();
  Dataset(const Dataset&) = delete;
  Dataset& operator=(const Dataset&) = delete;

  std::uint64_t tokens() const { return tokens_; }
  std::uint64_t training_tokens() const { return training_tokens_; }
  std::uint64_t validation_tokens() const { return tokens_ - training_tokens_; }
  // "sha256:…" of the whole file.
  const std::string& digest() const { return digest_; }
  const FileIdentity& identity() const { return identity_; }

  // Tokens [first, first + out.size()); precondition: they exist.
  void read(std::uint64_t first, std::span<std::int64_t> out) const;

 private:
  Dataset() = default;

  const std::byte* data_ = nullptr;
  FileIdentity identity_;
  unsigned token_bytes_ = 1;
  std::uint64_t tokens_ = 0;
  std::uint64_t training_tokens_ = 0;
  std::string digest_;
};

}  // namespace sidestep::daemon

// The job's text as a row of tokens: memory-mapped files, checked once when they are opened.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "daemon/data/token_file.h"
#include "daemon/data/tokenizer.h"
#include "net/status.h"
#include "scheduler/job.h"

namespace sidestep::daemon {

// What a file was when it was opened; another identity means that it has to be opened again.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t bytes = 0;
  std::int64_t modified_ns = 0;
  bool operator==(const FileIdentity&) const = default;
};

Result<FileIdentity> identify_file(const std::string& path);

// One file's tokens among those of all: the first `training` are trained on, the rest are held out.
struct DataPart {
  std::uint64_t first = 0;  // in the row of all tokens
  std::uint64_t training = 0;
  std::uint64_t validation = 0;
  double weight = 1;

  bool operator==(const DataPart&) const = default;
};

// Owner: whoever opened it; it holds the mappings until it is destroyed. Immutable, so any thread may
// read. The files must not be cut short meanwhile: that is the one fault a mapping cannot contain.
class Dataset {
 public:
  // Reads each file once: for its digest and to see that every token is below `vocab_size`; what has to be
  // tokenized goes through the cache (token_cache.h), which can take minutes the first time.
  // Every failure names the path: missing, empty, damaged, no whole number of tokens, fewer than
  // sequence_length + 1 tokens to train on, a token outside the vocabulary (with its position), another
  // digest than the job's (if that is not empty) or than the notes beside a token file, an unknown format,
  // tokenizer or token type, a tokenizer with more tokens than `vocab_size`.
  // With `needs_validation` the held-out part of each file has to hold a sequence too.
  static Result<std::shared_ptr<const Dataset>> open(const scheduler::DataSpec& spec, std::int64_t vocab_size,
                                                     bool needs_validation);

  // Of all files.
  std::uint64_t tokens() const;
  std::uint64_t training_tokens() const;
  std::uint64_t validation_tokens() const { return tokens() - training_tokens(); }
  // In the order of the job; their tokens follow each other.
  const std::vector<DataPart>& parts() const { return parts_; }
  // "sha256:…" of every file, then of the tokenizer's, with a space between: as in DataSpec.
  const std::string& digest() const { return digest_; }
  // No file has changed since, nor is it gone.
  bool up_to_date() const;
  // Null for token files.
  const Tokenizer* tokenizer() const { return tokenizer_.get(); }

  // Tokens [first, first + out.size()); precondition: they exist, in one file.
  void read(std::uint64_t first, std::span<std::int64_t> out) const;

 private:
  struct Source {
    std::string path;
    FileIdentity identity;
  };

  Dataset() = default;
  Status add_file(const scheduler::DataSpec& spec, const scheduler::DataFile& file, std::int64_t vocab_size,
                  bool needs_validation);
  // Of the next file; `wanted` is what its own entry says, or empty.
  Status check_digest(const std::string& path, const std::string& digest, const std::string& wanted);

  std::vector<std::string> wanted_;  // digests of the job, in order; empty: none
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<Source> sources_;
  std::vector<TokenFile> files_;
  std::vector<DataPart> parts_;
  std::size_t digests_ = 0;  // in digest_
  std::string digest_;
};

}  // namespace sidestep::daemon

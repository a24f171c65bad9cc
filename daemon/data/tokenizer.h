// How text becomes tokens, and back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "net/status.h"
#include "scheduler/job.h"

namespace sidestep::daemon {

// Owner: whoever opened it. Immutable, so any thread may use it.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual std::int64_t vocab_size() const = 0;
  // "sha256:…" of its file; empty for bytes.
  virtual const std::string& digest() const = 0;
  // The token after each document: a newline for bytes, else the end-of-sentence piece, which a model may
  // lack.
  virtual std::optional<std::uint32_t> separator() const = 0;
  // Appends the tokens of `text`. The whole of a long text at once: some tokenizers put a space before it.
  virtual Status encode(std::string_view text, std::vector<std::uint32_t>& tokens) const = 0;
  // Unknown tokens and broken characters come out as U+FFFD.
  virtual std::string decode(std::span<const std::int64_t> tokens) const = 0;
};

std::shared_ptr<const Tokenizer> byte_tokenizer();
// Failures name the path: missing, empty, cut short, no SentencePiece model, one whose tables point outside
// themselves.
Result<std::shared_ptr<const Tokenizer>> open_sentencepiece(const std::string& path);

// The job's, checked against its digest; null for token files.
Result<std::shared_ptr<const Tokenizer>> open_tokenizer(const scheduler::DataSpec& spec);

}  // namespace sidestep::daemon

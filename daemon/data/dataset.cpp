#include "daemon/data/dataset.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sstream>

#include "daemon/data/token_cache.h"
#include "net/assert.h"
#include "net/digest.h"

namespace sidestep::daemon {
namespace {

std::string too_short(const scheduler::DataSpec& spec, const std::string& path, const char* part,
                      std::uint64_t tokens) {
  return path + ": " + part + " has " + std::to_string(tokens) + " tokens, shorter than one sequence of " +
         std::to_string(spec.sequence_length) + " tokens and the one after it";
}

Status check_lengths(const scheduler::DataSpec& spec, const std::string& path, const DataPart& part,
                     bool needs_validation) {
  const auto needed = static_cast<std::uint64_t>(spec.sequence_length) + 1;
  const std::uint64_t tokens = part.training + part.validation;
  if (tokens < needed) return Status::invalid(too_short(spec, path, "the file", tokens));
  if (part.training < needed)
    return Status::invalid(too_short(spec, path, "the part to train on", part.training));
  if (needs_validation && part.validation < needed)
    return Status::invalid(too_short(spec, path, "the held-out part", part.validation) +
                           "; raise \"data.validation_share\"");
  return {};
}

// A token file with notes is what the notes say.
Status check_notes(const scheduler::DataSpec& spec, const std::string& path, const std::string& digest) {
  const auto notes = TokenNotes::load(path);
  if (!notes.ok() || !notes.value()) return notes.status();
  if (notes.value()->token_type != spec.token_type)
    return Status::invalid(path + ": holds " + notes.value()->token_type +
                           " tokens, \"data.token_type\" is " + spec.token_type);
  if (notes.value()->digest != digest)
    return Status::invalid(path + ": is cut short or changed since it was made: it has digest " + digest +
                           ", " + TokenNotes::path_for(path) + " says " + notes.value()->digest);
  return {};
}

Status check_formats(const scheduler::DataSpec& spec) {
  const std::string path = spec.name();
  if (spec.format != "text" && spec.format != "jsonl" && spec.format != "tokens")
    return Status::invalid(path + ": unknown format \"" + spec.format + "\"; known: text, jsonl, tokens");
  if (spec.format == "tokens" && spec.token_type != "uint16" && spec.token_type != "uint32")
    return Status::invalid(path + ": unknown token type \"" + spec.token_type + "\"; known: uint16, uint32");
  return {};
}

Status check_vocabulary(const std::string& path, const TokenFile& file, std::int64_t vocab_size) {
  const auto outside = file.first_outside(static_cast<std::uint64_t>(vocab_size));
  if (!outside) return {};
  std::int64_t token = 0;
  file.read(*outside, {&token, 1});
  return Status::invalid(path + ": token " + std::to_string(token) + " at position " +
                         std::to_string(*outside) + " is outside the vocabulary of " +
                         std::to_string(vocab_size) + " (\"model.vocab_size\")");
}

}  // namespace

Result<FileIdentity> identify_file(const std::string& path) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0) {
    const int error = errno;
    const std::string text = path + ": cannot be looked at: " + std::strerror(error);
    return error == ENOENT ? Status::not_found(text) : Status::io(text);
  }
  return FileIdentity{static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino),
                      static_cast<std::uint64_t>(status.st_size),
                      status.st_mtim.tv_sec * std::int64_t{1'000'000'000} + status.st_mtim.tv_nsec};
}

Result<std::shared_ptr<const Dataset>> Dataset::open(const scheduler::DataSpec& spec, std::int64_t vocab_size,
                                                     bool needs_validation) {
  if (Status status = check_formats(spec); !status.ok()) return status;
  std::shared_ptr<Dataset> dataset(new Dataset());
  std::istringstream wanted(spec.digest);
  for (std::string digest; wanted >> digest;) dataset->wanted_.push_back(digest);

  const auto tokenizer_identity = identify_file(spec.tokenizer_path);
  auto tokenizer = open_tokenizer(spec);
  if (!tokenizer.ok()) return tokenizer.status();
  dataset->tokenizer_ = tokenizer.value();
  if (dataset->tokenizer_ != nullptr && spec.tokenizer != "bytes") {
    if (dataset->tokenizer_->vocab_size() > vocab_size)
      return Status::invalid(spec.tokenizer_path + ": has " +
                             std::to_string(dataset->tokenizer_->vocab_size()) +
                             " pieces, more than \"model.vocab_size\", " + std::to_string(vocab_size));
    if (!tokenizer_identity.ok()) return tokenizer_identity.status();
    dataset->sources_.push_back({spec.tokenizer_path, tokenizer_identity.value()});
  }
  for (const scheduler::DataFile& file : spec.all_files())
    if (Status status = dataset->add_file(spec, file, vocab_size, needs_validation); !status.ok())
      return status;
  if (dataset->tokenizer_ != nullptr && !dataset->tokenizer_->digest().empty())
    if (Status status = dataset->check_digest(spec.tokenizer_path, dataset->tokenizer_->digest(), "");
        !status.ok())
      return status;
  return std::shared_ptr<const Dataset>(std::move(dataset));
}

Status Dataset::add_file(const scheduler::DataSpec& spec, const scheduler::DataFile& file,
                         std::int64_t vocab_size, bool needs_validation) {
  // Before the mapping: a file that changes between the two is opened again.
  const auto identity = identify_file(file.path);
  auto mapped = MappedFile::open(file.path);
  if (!mapped.ok()) return mapped.status();
  if (!identity.ok()) return identity.status();
  if (mapped.value()->bytes().empty()) return Status::invalid(file.path + ": is empty");
  const std::string digest = net::sha256(mapped.value()->bytes());
  if (Status status = check_digest(file.path, digest, file.digest); !status.ok()) return status;
  if (spec.format == "tokens")
    if (Status status = check_notes(spec, file.path, digest); !status.ok()) return status;

  auto opened = needs_cache(spec, *mapped.value())
                    ? cached_tokens(spec, mapped.value(), digest, tokenizer_.get())
                    : TokenFile::open(mapped.value(), spec.format == "text" ? "uint8" : spec.token_type);
  if (!opened.ok()) return opened.status();
  const std::uint64_t count = opened.value().tokens();
  const auto held_out = static_cast<std::uint64_t>(static_cast<double>(count) * spec.validation_share);
  const DataPart part{tokens(), count - std::min(held_out, count), std::min(held_out, count), file.weight};
  if (Status status = check_lengths(spec, file.path, part, needs_validation); !status.ok()) return status;
  if (Status status = check_vocabulary(file.path, opened.value(), vocab_size); !status.ok()) return status;
  sources_.push_back({file.path, identity.value()});
  files_.push_back(std::move(opened).value());
  parts_.push_back(part);
  return {};
}

Status Dataset::check_digest(const std::string& path, const std::string& digest, const std::string& wanted) {
  const std::string of_job = digests_ < wanted_.size() ? wanted_[digests_] : digest;
  ++digests_;
  digest_ += (digest_.empty() ? "" : " ") + digest;
  for (const std::string& other : {of_job, wanted})
    if (!other.empty() && other != digest)
      return Status::invalid(path + ": has digest " + digest + ", the job wants " + other);
  return {};
}

std::uint64_t Dataset::tokens() const {
  return parts_.empty() ? 0 : parts_.back().first + parts_.back().training + parts_.back().validation;
}

std::uint64_t Dataset::training_tokens() const {
  std::uint64_t sum = 0;
  for (const DataPart& part : parts_) sum += part.training;
  return sum;
}

bool Dataset::up_to_date() const {
  return std::all_of(sources_.begin(), sources_.end(), [](const Source& source) {
    const auto identity = identify_file(source.path);
    return identity.ok() && identity.value() == source.identity;
  });
}

void Dataset::read(std::uint64_t first, std::span<std::int64_t> out) const {
  const auto after = std::upper_bound(parts_.begin(), parts_.end(), first,
                                      [](std::uint64_t at, const DataPart& part) { return at < part.first; });
  SIDESTEP_ASSERT(after != parts_.begin());
  const auto index = static_cast<std::size_t>(after - parts_.begin()) - 1;
  files_[index].read(first - parts_[index].first, out);
}

}  // namespace sidestep::daemon

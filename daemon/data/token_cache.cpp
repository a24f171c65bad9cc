#include "daemon/data/token_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

#include "daemon/data/atomic_output.h"
#include "daemon/data/byte_source.h"
#include "daemon/data/documents.h"
#include "net/digest.h"

namespace sidestep::daemon {
namespace {

// Changes when the same text would become other tokens.
constexpr const char* format_version = "sidestep tokens 1";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string type_of(const scheduler::DataSpec& spec, const Tokenizer* tokenizer) {
  return tokenizer == nullptr ? spec.token_type : token_type_for(tokenizer->vocab_size());
}

std::string cache_name(const scheduler::DataSpec& spec, const std::string& digest,
                       const Tokenizer* tokenizer) {
  const std::string key = std::string(format_version) + '\n' + digest + '\n' + spec.format + '\n' +
                          (spec.format == "jsonl" ? spec.field : "") + '\n' + type_of(spec, tokenizer) +
                          '\n' + (tokenizer == nullptr ? "" : tokenizer->digest());
  return net::sha256(std::as_bytes(std::span(key))).substr(std::strlen("sha256:")) + ".tokens";
}

// Held by the one process that makes a file; the system lets go of it when that process ends.
class FileLock {
 public:
  FileLock() = default;
  ~FileLock() {
    if (file_ >= 0) ::close(file_);
  }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  Status take(const std::string& path) {
    file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    int result = file_ < 0 ? -1 : ::flock(file_, LOCK_EX);
    while (result != 0 && file_ >= 0 && errno == EINTR) result = ::flock(file_, LOCK_EX);
    return result == 0 ? Status() : Status::io(path + ": cannot be locked: " + std::strerror(errno));
  }

 private:
  int file_ = -1;
};

// Appends tokens to a file, each in so many bytes.
class TokenWriter {
 public:
  TokenWriter(AtomicFile& file, unsigned token_bytes) : file_(file), token_bytes_(token_bytes) {}

  Status write(const std::vector<std::uint32_t>& tokens) {
    buffer_.resize(tokens.size() * token_bytes_);
    for (std::size_t i = 0; i < tokens.size(); ++i)
      std::memcpy(buffer_.data() + i * token_bytes_, &tokens[i], token_bytes_);
    return file_.write(buffer_);
  }

 private:
  AtomicFile& file_;
  unsigned token_bytes_;
  std::vector<std::byte> buffer_;
};

Status copy_decompressed(ByteSource& source, AtomicFile& out) {
  while (true) {
    const auto piece = source.next();
    if (!piece.ok()) return piece.status();
    if (piece.value().empty()) return {};
    if (Status status = out.write(std::as_bytes(std::span(piece.value()))); !status.ok()) return status;
  }
}

Status tokenize(const scheduler::DataSpec& spec, const std::string& path, ByteSource& source,
                const Tokenizer& tokenizer, AtomicFile& out) {
  const auto separator = tokenizer.separator();
  if (spec.format == "jsonl" && !separator)
    return Status::invalid(spec.tokenizer_path +
                           ": has no end-of-sentence piece, which separates the documents of a .jsonl");
  TokenWriter writer(out, bytes_per_token(token_type_for(tokenizer.vocab_size())));
  std::vector<std::uint32_t> tokens;
  return read_documents(path, spec, source, [&](std::string_view text, bool ends_document) {
    tokens.clear();
    if (Status status = tokenizer.encode(text, tokens); !status.ok()) return status;
    if (ends_document) tokens.push_back(*separator);
    return writer.write(tokens);
  });
}

// The kept file, if it is there and whole.
Result<TokenFile> open_kept(const std::string& path, const std::string& type) {
  const auto notes = TokenNotes::load(path);
  if (!notes.ok()) return notes.status();
  if (!notes.value()) return Status::not_found(path);
  auto file = MappedFile::open(path);
  if (!file.ok()) return file.status();
  if (net::sha256(file.value()->bytes()) != notes.value()->digest)
    return Status::invalid(path + ": is damaged");
  return TokenFile::open(file.value(), type);
}

}  // namespace

Result<std::string> cache_folder() {
  if (std::string named = environment("SIDESTEP_CACHE"); !named.empty()) return named;
  if (const std::string caches = environment("XDG_CACHE_HOME"); !caches.empty()) return caches + "/sidestep";
  if (const std::string home = environment("HOME"); !home.empty()) return home + "/.cache/sidestep";
  return Status::invalid("no folder to keep tokenized text in; set SIDESTEP_CACHE to one");
}

bool needs_cache(const scheduler::DataSpec& spec, const MappedFile& file) {
  return is_zstd(file) || spec.format == "jsonl" || (spec.format == "text" && spec.tokenizer != "bytes");
}

Result<TokenFile> cached_tokens(const scheduler::DataSpec& spec, std::shared_ptr<const MappedFile> file,
                                const std::string& digest, const Tokenizer* tokenizer) {
  const auto folder = cache_folder();
  if (!folder.ok()) return folder.status();
  std::error_code error;
  std::filesystem::create_directories(folder.value(), error);
  if (error)
    return Status::io(folder.value() + ": cannot be made: " + error.message() +
                      "; SIDESTEP_CACHE names another folder for tokenized text");
  const std::string path = folder.value() + "/" + cache_name(spec, digest, tokenizer);
  const std::string type = type_of(spec, tokenizer);
  FileLock lock;
  if (Status status = lock.take(path + ".lock"); !status.ok()) return status;
  if (auto kept = open_kept(path, type); kept.ok()) return kept;

  auto out = AtomicFile::create(path);
  if (!out.ok()) return out.status();
  ByteSource source(file);
  Status status = tokenizer == nullptr ? copy_decompressed(source, out.value())
                                       : tokenize(spec, file->path(), source, *tokenizer, out.value());
  if (status.ok()) status = out.value().commit();
  if (!status.ok()) return status;
  const auto written = MappedFile::open(path);
  if (!written.ok()) return written.status();
  auto tokens = TokenFile::open(written.value(), type);
  if (!tokens.ok()) return tokens.status().with_context(file->path());
  const TokenNotes notes{tokenizer == nullptr ? "" : spec.tokenizer,
                         tokenizer == nullptr ? std::int64_t{1} << 32 : tokenizer->vocab_size(), type,
                         static_cast<std::int64_t>(tokens.value().tokens()),
                         net::sha256(tokens.value().bytes())};
  if (status = notes.save(path); !status.ok()) return status;
  return tokens;
}

}  // namespace sidestep::daemon

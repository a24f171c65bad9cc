// Files and folders that appear under their names only once they are whole: written beside the place, flushed
// to disk, then renamed. What was there before stays as it was until then, also when the disk is full or the
// process dies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "net/status.h"

namespace sidestep::daemon {

// Owner: one writer, on one thread. Failures name the path and the system's reason.
class AtomicFile {
 public:
  static Result<AtomicFile> create(const std::string& path);
  AtomicFile(AtomicFile&& other) noexcept
      : path_(std::move(other.path_)),
        partial_(std::exchange(other.partial_, {})),
        file_(std::exchange(other.file_, -1)) {}
  AtomicFile& operator=(AtomicFile&&) = delete;
  // Removes what was written, unless it was committed.
  ~AtomicFile();

  // Appends.
  Status write(std::span<const std::byte> bytes);
  // Replaces bytes that were written before.
  Status rewrite(std::uint64_t offset, std::span<const std::byte> bytes);
  // The last call.
  Status commit();

 private:
  AtomicFile(std::string path, std::string partial, int file)
      : path_(std::move(path)), partial_(std::move(partial)), file_(file) {}

  std::string path_;
  std::string partial_;  // empty once committed
  int file_ = -1;
};

Status write_file(const std::string& path, std::string_view text);

// Owner: one writer, on one thread. A folder that is there already is replaced as a whole; whether that may
// be done is the caller's to know.
class AtomicFolder {
 public:
  static Result<AtomicFolder> create(const std::string& path);
  AtomicFolder(AtomicFolder&& other) noexcept
      : path_(std::move(other.path_)), partial_(std::exchange(other.partial_, {})) {}
  AtomicFolder& operator=(AtomicFolder&&) = delete;
  // Removes what was written, unless it was committed.
  ~AtomicFolder();

  // Where to write the folder's files.
  const std::string& partial() const { return partial_; }
  // The last call.
  Status commit();

 private:
  AtomicFolder(std::string path, std::string partial)
      : path_(std::move(path)), partial_(std::move(partial)) {}

  std::string path_;
  std::string partial_;  // empty once committed
};

}  // namespace sidestep::daemon

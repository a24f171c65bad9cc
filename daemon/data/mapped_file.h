// A whole file, read through the page cache.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "net/status.h"

namespace sidestep::daemon {

// Owner: whoever opened it; it holds the mapping until it is destroyed. Immutable, so any thread may read.
// The file must not be cut short meanwhile: that is the one fault a mapping cannot contain.
class MappedFile {
 public:
  // Failures name the path: missing, not readable, no regular file. An empty file is no failure here.
  static Result<std::shared_ptr<const MappedFile>> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  MappedFile() = default;

  std::string path_;
  std::span<const std::byte> bytes_;
};

}  // namespace sidestep::daemon

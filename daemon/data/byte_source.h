// A file's bytes in order, decompressed where the file is zstd.
#pragma once

#include <memory>
#include <string_view>

#include "daemon/data/mapped_file.h"
#include "net/status.h"

namespace sidestep::daemon {

// By the first bytes of the file, whatever its name is.
bool is_zstd(const MappedFile& file);

// Owner: whoever reads; one thread. It keeps the file mapped.
class ByteSource {
 public:
  explicit ByteSource(std::shared_ptr<const MappedFile> file);
  ~ByteSource();
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  // The next piece, at most 1 MiB, valid until the next call; empty at the end. Compressed data that is cut
  // short or damaged is a Status with path, position and zstd's reason.
  Result<std::string_view> next();

 private:
  struct Decompressor;

  std::shared_ptr<const MappedFile> file_;
  std::size_t position_ = 0;
  std::unique_ptr<Decompressor> decompressor_;  // null for plain bytes
};

}  // namespace sidestep::daemon

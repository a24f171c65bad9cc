#include "daemon/data/byte_source.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "net/assert.h"

namespace sidestep::daemon {
namespace {

constexpr std::size_t piece_bytes = 1 << 20;
constexpr std::array<unsigned char, 4> zstd_magic{0x28, 0xb5, 0x2f, 0xfd};

}  // namespace

bool is_zstd(const MappedFile& file) {
  return file.bytes().size() >= zstd_magic.size() &&
         std::memcmp(file.bytes().data(), zstd_magic.data(), zstd_magic.size()) == 0;
}

struct ByteSource::Decompressor {
  Decompressor() : stream(ZSTD_createDStream()), piece(piece_bytes, '\0') {
    SIDESTEP_ASSERT(stream != nullptr);
  }
  ~Decompressor() { ZSTD_freeDStream(stream); }
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;

  ZSTD_DStream* stream;
  std::string piece;
  bool within_frame = false;
};

ByteSource::ByteSource(std::shared_ptr<const MappedFile> file) : file_(std::move(file)) {
  if (is_zstd(*file_)) decompressor_ = std::make_unique<Decompressor>();
}

ByteSource::~ByteSource() = default;

Result<std::string_view> ByteSource::next() {
  const auto bytes = file_->bytes();
  if (decompressor_ == nullptr) {
    const std::size_t count = std::min(piece_bytes, bytes.size() - position_);
    const std::string_view piece(reinterpret_cast<const char*>(bytes.data()) + position_, count);
    position_ += count;
    return piece;
  }
  ZSTD_outBuffer out{decompressor_->piece.data(), decompressor_->piece.size(), 0};
  ZSTD_inBuffer in{bytes.data(), bytes.size(), position_};
  // The last bytes of a frame can be in while the last bytes out of it are not.
  while (out.pos < out.size && (in.pos < in.size || decompressor_->within_frame)) {
    const std::size_t before_in = in.pos, before_out = out.pos;
    const std::size_t left = ZSTD_decompressStream(decompressor_->stream, &out, &in);
    if (ZSTD_isError(left))
      return Status::invalid(file_->path() + ": is damaged at byte " + std::to_string(in.pos) + " of " +
                             std::to_string(in.size) + ", zstd says: " + ZSTD_getErrorName(left));
    decompressor_->within_frame = left != 0;
    if (left != 0 && in.pos == before_in && out.pos == before_out)
      return Status::invalid(file_->path() + ": is cut short: its compressed data goes on after byte " +
                             std::to_string(in.size));
  }
  position_ = in.pos;
  return std::string_view(decompressor_->piece.data(), out.pos);
}

}  // namespace sidestep::daemon

// Arbitrary frames never crash the decoder, and what it accepts means the same once sent on.
// Input: the header's length (2 bytes, little-endian), the header, and the rest as one tensor frame, if any.
#include <cstring>

#include "net/codec.h"

using namespace sidestep::net;

namespace {

Payload copy_of(const std::uint8_t* data, std::size_t size) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  return Payload::from_bytes({bytes, bytes + size});
}

bool same(const Frames& a, const Frames& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (a[i].size() != b[i].size() ||
        (a[i].size() > 0 && std::memcmp(a[i].data(), b[i].data(), a[i].size()) != 0))
      return false;
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::size_t header_size = std::min<std::size_t>(data[0] | data[1] << 8, size - 2);
  const std::size_t rest = size - 2 - header_size;
  Frames frames{copy_of(data + 2, header_size)};
  if (rest > 0) frames.push_back(copy_of(data + 2 + header_size, rest));

  const auto decoded = decode(frames);
  if (!decoded.ok()) return 0;
  // The sender may have packed the same values otherwise; ours is one way, and it is a fixed point.
  const Frames again = encode(decoded.value());
  const auto twice = decode(again);
  SIDESTEP_ASSERT(twice.ok());
  SIDESTEP_ASSERT(same(encode(twice.value()), again));
  return 0;
}

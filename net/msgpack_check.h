// A look at MessagePack bytes before anything is built from them: nothing is allocated, nothing
// recurses. What passes can be given to a recursive parser with bounded stack and memory.
#pragma once

#include <cstddef>
#include <span>

#include "net/status.h"

namespace sidestep::net {

struct MsgpackLimits {
  std::size_t depth_max = 64;
  std::size_t values_max = 1u << 21;  // all scalars, lists, maps and keys together
};

// Errors: invalid, saying what and at which byte: truncated, too deep, too many values, a length beyond
// the end, text that is no UTF-8, a map key that is no text, an extension type, bytes after the end.
Status check_msgpack(std::span<const std::byte> bytes, const MsgpackLimits& limits = {});

}  // namespace sidestep::net

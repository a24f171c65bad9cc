// One codec for every transport. A message is one header frame (MessagePack: an array
// [wire version, kind, boot, id, body]) and one frame per tensor, which is shared, never copied.
// Decoding checks every size before memory is taken and every field's type and range; garbage comes
// back as a Status that says what was wrong, never as an exception or a crash. Thread-safe.
#pragma once

#include <cstddef>
#include <vector>

#include "net/messages.h"
#include "net/status.h"

namespace sidestep::net {

using Frames = std::vector<Payload>;

struct CodecLimits {
  std::size_t header_bytes_max = 16u << 20;
  std::size_t tensor_bytes_max = 1u << 30;
  std::size_t list_entries_max = 1u << 20;  // members, hops, ids, log lines
  std::size_t text_bytes_max = 4u << 20;    // of one field
};

Frames encode(const Envelope& envelope);

// Errors: invalid (truncated, wrong type, unknown kind, tensor frame and shape disagree, too large);
// refused (another wire version; the message names both).
Result<Envelope> decode(const Frames& frames, const CodecLimits& limits = {});

}  // namespace sidestep::net

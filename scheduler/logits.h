// One number that the head computes by and that its memory is predicted by.
#pragma once

#include <cstdint>

namespace sidestep::scheduler {

// Logits of one piece of a microbatch take at most this many elements (64 MiB in float32), on any device.
inline constexpr std::int64_t logits_elements_max = 1 << 24;

}  // namespace sidestep::scheduler

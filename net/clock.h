// Time as the cores see it: microseconds that come in as an argument, never read inside.
// Only drivers read a clock, through these two functions.
#pragma once

#include <cstdint>

namespace sidestep::net {

// Microseconds since an arbitrary moment of this process; never goes back.
std::int64_t monotonic_us();

// Microseconds since 1970-01-01 UTC; for people to read, never to decide by.
std::int64_t wall_us();

inline constexpr std::int64_t ms = 1'000;
inline constexpr std::int64_t second = 1'000'000;

}  // namespace sidestep::net

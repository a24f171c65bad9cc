// How often nodes send heartbeats: so that the scheduler hears no more than a few thousand a second however
// many there are. Nodes and scheduler work it out alike, from the view.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace sidestep::net {

inline constexpr std::int64_t heartbeat_us_min = 200'000;  // where nobody says otherwise
inline constexpr std::int64_t heartbeat_us_a_node = 500;   // 2,000 a second in all
inline constexpr std::int64_t heartbeats_missed_max = 5;   // a silent node is not dead before

// `configured_us`, longer with many nodes in the view.
inline std::int64_t heartbeat_us(std::int64_t configured_us, std::size_t nodes) {
  return std::max(configured_us, heartbeat_us_a_node * static_cast<std::int64_t>(nodes));
}

// How long a node may be silent, given what is configured.
inline std::int64_t silent_dead_us(std::int64_t configured_us, std::size_t nodes) {
  return std::max(configured_us, heartbeats_missed_max * heartbeat_us(0, nodes));
}

}  // namespace sidestep::net

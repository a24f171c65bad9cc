// A node's name is its Curve25519 public key.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "net/status.h"

namespace sidestep::net {

struct NodeKey {
  std::array<std::uint8_t, 32> bytes{};

  auto operator<=>(const NodeKey&) const = default;

  // 64 lower-case hexadecimal digits.
  std::string hex() const;
  // The first four digits: how logs name a node beside its nickname.
  std::string short_name() const;
  // Accepts exactly what hex() gives.
  static Result<NodeKey> from_hex(std::string_view text);
};

// Tells one run of a daemon from the next under the same key. Drawn at random by the driver.
using BootId = std::uint64_t;

}  // namespace sidestep::net

// Keys to tell nodes apart by.
#pragma once

#include <cstdint>

#include "net/node_key.h"

namespace sidestep::net::testing {

inline NodeKey key(int number) {
  NodeKey key;
  key.bytes[0] = static_cast<std::uint8_t>(number);
  return key;
}

}  // namespace sidestep::net::testing

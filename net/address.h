// "host:port" as users write it and peers advertise it.
#pragma once

#include <string>
#include <string_view>

#include "net/status.h"

namespace sidestep::net {

struct Address {
  std::string host;  // a name, an IPv4 address, or an IPv6 address in brackets; "*" only to bind
  std::uint16_t port = 0;

  bool is_ipv6() const { return host.starts_with('['); }
  std::string text() const { return host + ":" + std::to_string(port); }
};

enum class AddressUse {
  connect,
  bind,  // "*" and port 0 (any free one) are allowed
};

// Errors: invalid, naming what is wrong. Nothing is looked up.
Result<Address> parse_address(std::string_view text, AddressUse use);

}  // namespace sidestep::net

#include "net/address.h"

#include <charconv>

namespace sidestep::net {
namespace {

bool only_of(std::string_view text, std::string_view allowed) {
  return !text.empty() && text.find_first_not_of(allowed) == std::string_view::npos;
}

// ZeroMQ gives more characters a meaning (";" a source address, "%" a scope); none of them comes from a peer.
bool is_host(std::string_view host, AddressUse use) {
  if (host == "*") return use == AddressUse::bind;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    return only_of(host.substr(1, host.size() - 2), "0123456789abcdefABCDEF:.");
  return only_of(host, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_");
}

}  // namespace

Result<Address> parse_address(std::string_view text, AddressUse use) {
  const auto wrong = [&](const std::string& what) {
    return Status::invalid("address \"" + std::string(text.substr(0, 100)) + "\": " + what);
  };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return wrong("expected host:port");
  const std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (!is_host(host, use))
    return wrong("the host must be a name, an IPv4 address, or an IPv6 address in brackets");
  unsigned number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || end != port.data() + port.size() || number > 65535 ||
      (number == 0 && use == AddressUse::connect))
    return wrong(use == AddressUse::bind ? "the port must be a number from 0 to 65535"
                                         : "the port must be a number from 1 to 65535");
  return Address{std::string(host), static_cast<std::uint16_t>(number)};
}

}  // namespace sidestep::net

#include "net/address.h"

#include <catch2/catch.hpp>

using namespace sidestep;
using namespace sidestep::net;

TEST_CASE("Address: names, IPv4 and bracketed IPv6 with a port") {
  for (const char* text : {"10.0.0.4:7001", "node-1.example.org:1", "[::1]:65535", "localhost:7001"}) {
    const auto address = parse_address(text, AddressUse::connect);
    REQUIRE(address.ok());
    CHECK(address.value().text() == text);
  }
  CHECK(parse_address("[::1]:7", AddressUse::connect).value().is_ipv6());
  CHECK_FALSE(parse_address("10.0.0.4:7", AddressUse::connect).value().is_ipv6());
  CHECK(parse_address("*:0", AddressUse::bind).ok());
}

TEST_CASE("Address: anything else is refused with what is wrong") {
  const auto error = [](const std::string& text, AddressUse use = AddressUse::connect) {
    return parse_address(text, use).status().message();
  };
  const std::string host = "the host must be a name, an IPv4 address, or an IPv6 address in brackets";
  CHECK(error("localhost") == "address \"localhost\": expected host:port");
  CHECK(error("") == "address \"\": expected host:port");
  for (const char* text : {":7001", "::1:7001", "tcp://a:1", "inproc://x:1", "eth0;10.0.0.1:1", "a b:1",
                           "*:1", "[]:1", "[fe80::1%lo]:1"})
    CHECK(error(text) == "address \"" + std::string(text) + "\": " + host);
  for (const char* text : {"a:", "a:x", "a:0", "a:65536", "a:-1", "a:7001x", "a:99999999999"})
    CHECK(error(text) == "address \"" + std::string(text) + "\": the port must be a number from 1 to 65535");
  CHECK(error("a:65536", AddressUse::bind) ==
        "address \"a:65536\": the port must be a number from 0 to 65535");
}

#include "net/node_key.h"

#include <catch2/catch.hpp>

using namespace sidestep::net;

TEST_CASE("Node key: its text is its name both ways") {
  NodeKey key;
  for (std::size_t i = 0; i < key.bytes.size(); ++i) key.bytes[i] = static_cast<std::uint8_t>(7 * i + 0xab);
  CHECK(key.hex().size() == 64);
  CHECK(key.hex().substr(0, 6) == "abb2b9");
  CHECK(key.short_name() == "abb2");
  CHECK(NodeKey::from_hex(key.hex()).value() == key);
}

TEST_CASE("Node key: other text is refused with what is wrong") {
  CHECK(NodeKey::from_hex("abc").status().message() ==
        "a key is 64 hexadecimal digits, this has 3 characters");
  CHECK(NodeKey::from_hex(std::string(64, 'A')).status().message() ==
        "a key is 64 hexadecimal digits (0-9, a-f), found 'A'");
}

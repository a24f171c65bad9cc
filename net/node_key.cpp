#include "net/node_key.h"

namespace sidestep::net {
namespace {

constexpr std::string_view digits = "0123456789abcdef";

}  // namespace

std::string NodeKey::hex() const {
  std::string text;
  text.reserve(2 * bytes.size());
  for (const std::uint8_t byte : bytes) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

std::string NodeKey::short_name() const { return hex().substr(0, 4); }

Result<NodeKey> NodeKey::from_hex(std::string_view text) {
  NodeKey key;
  if (text.size() != 2 * key.bytes.size())
    return Status::invalid("a key is 64 hexadecimal digits, this has " + std::to_string(text.size()) +
                           " characters");
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t value = digits.find(text[i]);
    if (value == std::string_view::npos)
      return Status::invalid("a key is 64 hexadecimal digits (0-9, a-f), found '" + std::string(1, text[i]) +
                             "'");
    key.bytes[i / 2] = static_cast<std::uint8_t>((key.bytes[i / 2] << 4) | value);
  }
  return key;
}

}  // namespace sidestep::net

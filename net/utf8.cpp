#include "net/utf8.h"

#include <cstdint>

namespace sidestep::net {
namespace {

// Bytes of the character that `text` begins with; 0 if it begins with none. Overlong forms,
// surrogates and code points above U+10FFFF are none (Unicode 15, table 3-7).
std::size_t character_size(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t size = first >= 0xc2 && first <= 0xdf   ? 2
                           : first >= 0xe0 && first <= 0xef ? 3
                           : first >= 0xf0 && first <= 0xf4 ? 4
                                                            : 0;
  if (size == 0 || size > text.size()) return 0;
  const std::uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const std::uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (byte(1) < low || byte(1) > high) return 0;
  for (std::size_t i = 2; i < size; ++i)
    if (byte(i) < 0x80 || byte(i) > 0xbf) return 0;
  return size;
}

}  // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t size = character_size(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

std::string repaired_utf8(std::string_view text, std::string_view replacement) {
  std::string repaired;
  repaired.reserve(text.size());
  while (!text.empty()) {
    const std::size_t size = character_size(text);
    if (size == 0)
      repaired += replacement;
    else
      repaired.append(text.substr(0, size));
    text.remove_prefix(size == 0 ? 1 : size);
  }
  return repaired;
}

std::size_t incomplete_utf8(std::string_view text) {
  for (std::size_t bytes = 1; bytes <= 3 && bytes <= text.size(); ++bytes) {
    const std::string_view tail = text.substr(text.size() - bytes);
    // Whether some byte after it would make it whole: the least and the highest one that may follow.
    const auto first = static_cast<std::uint8_t>(tail[0]);
    if (first < 0xc2) continue;
    for (const char* more : {"\x80", "\xbf"}) {
      std::string whole(tail);
      while (whole.size() < 4) {
        whole += more;
        if (character_size(whole) == whole.size()) return bytes;
      }
    }
    return 0;
  }
  return 0;
}

}  // namespace sidestep::net

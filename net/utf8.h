// Text that came from a file, a peer or an error message may not be UTF-8; JSON must be.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sidestep::net {

bool is_utf8(std::string_view text);

// What stands for an unknown character.
inline constexpr std::string_view replacement_character = "\xef\xbf\xbd";

// The same text with '?', or something else, for each byte that is no UTF-8.
std::string repaired_utf8(std::string_view text, std::string_view replacement = "?");

// How many bytes at the end of `text` begin a character that is not all there.
std::size_t incomplete_utf8(std::string_view text);

}  // namespace sidestep::net

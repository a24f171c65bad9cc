// Text that came from a file, a peer or an error message may not be UTF-8; JSON must be.
#pragma once

#include <string>
#include <string_view>

namespace sidestep::net {

bool is_utf8(std::string_view text);

// The same text with '?' for each byte that is no UTF-8.
std::string repaired_utf8(std::string_view text);

}  // namespace sidestep::net

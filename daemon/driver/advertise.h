// What a process tells others about where it listens.
#pragma once

#include <string>

namespace sidestep::driver {

// "0.0.0.0:7000", "[::]:0", "*:7000": listens everywhere, and is nothing to connect to.
bool is_anywhere(const std::string& address);

// `configured`, with the port of `bound` where it leaves that open (port 0); without one, `bound` itself.
std::string advertised_address(const std::string& configured, const std::string& bound);

}  // namespace sidestep::driver

// What a piece of code prints to standard error or standard output.
#pragma once

#include <functional>
#include <string>

namespace sidestep::testing {

// Not for code that starts threads which print.
std::string capture_stderr(const std::function<void()>& code);
std::string capture_stdout(const std::function<void()>& code);

}  // namespace sidestep::testing

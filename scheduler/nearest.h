// The known word that a mistyped one was probably meant to be.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sidestep::scheduler {

// Empty when nothing known is near: more than a third of the letters differ.
std::string nearest(std::string_view typed, const std::vector<std::string>& known);

}  // namespace sidestep::scheduler

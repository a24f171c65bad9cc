#include "daemon/core/device_name.h"

#include <charconv>

namespace sidestep::daemon {

Result<DeviceName> parse_device_name(const std::string& text) {
  constexpr std::string_view prefix = "cuda:";
  constexpr int index_max = 63;
  if (text == "cpu") return DeviceName{};
  DeviceName name{.cuda = true};
  const char* end = text.data() + text.size();
  if (text.starts_with(prefix)) {
    const auto [last, problem] = std::from_chars(text.data() + prefix.size(), end, name.index);
    if (problem == std::errc() && last == end && name.index >= 0 && name.index <= index_max) return name;
  }
  return Status::invalid("\"" + text + "\" is no device; allowed: \"cpu\" and \"cuda:0\" to \"cuda:" +
                         std::to_string(index_max) + "\"");
}

}  // namespace sidestep::daemon

// The JSON header of a safetensors file, read as a stream: only what the format allows is kept, so that a
// hostile header takes memory in proportion to its length.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "net/status.h"

namespace sidestep::daemon {

// One tensor as the header states it; nothing of it is checked yet beyond its JSON types.
struct HeaderEntry {
  std::string name;
  std::string type;
  std::vector<std::uint64_t> shape;
  std::vector<std::uint64_t> offsets;
  bool has_type = false, has_shape = false, has_offsets = false;
};

struct SafetensorsHeader {
  std::vector<HeaderEntry> entries;
  std::map<std::string, std::string> metadata;
};

// Failures: not JSON, not the format's structure, a name twice; the text names the tensor, not the file.
Result<SafetensorsHeader> parse_safetensors_header(std::string_view text);

// Names come from the file: printable whatever they hold.
std::string quoted_name(const std::string& name);

}  // namespace sidestep::daemon

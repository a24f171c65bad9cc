// Arbitrary bytes never crash the reader of safetensors files, and what it accepts lies within the file.
#include "daemon/data/safetensors.h"

using namespace sidestep;
using namespace sidestep::daemon;

namespace {
volatile std::byte ends_read;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span content(reinterpret_cast<const std::byte*>(data), size);
  const auto parsed = parse_safetensors(content, "fuzz");
  if (!parsed.ok()) {
    SIDESTEP_ASSERT(!parsed.status().message().empty());
    return 0;
  }
  std::size_t tensor_bytes = 0;
  for (const auto& [name, tensor] : parsed.value().tensors) {
    SIDESTEP_ASSERT(static_cast<std::size_t>(tensor.info.elements()) * bytes_of(tensor.info.type) ==
                    tensor.bytes.size());
    tensor_bytes += tensor.bytes.size();
    // Read, so that a sanitizer sees where they lie.
    if (!tensor.bytes.empty()) ends_read = tensor.bytes.front() ^ tensor.bytes.back();
  }
  SIDESTEP_ASSERT(8 + parsed.value().header.size() + tensor_bytes == size);
  return 0;
}

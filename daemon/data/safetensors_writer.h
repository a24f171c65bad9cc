// Writing safetensors files (safetensors.h).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "daemon/data/safetensors.h"
#include "net/status.h"
#include "net/tensor.h"

namespace sidestep::daemon {

// The bytes of a tensor: row-major, little-endian, as many as type and shape say.
using TensorSource = std::function<Result<net::Payload>(const TensorInfo&)>;

// Writes `tensors` in their order, each asked for once, so that one is in memory at a time; with the SHA-256
// of each in the metadata. The file appears under `path` when it is whole. Failures: the source's; a payload
// of another size is Status internal; the disk's, with the path. Precondition: names are unique and none is
// "__metadata__".
Status write_safetensors(const std::string& path, const std::vector<TensorInfo>& tensors,
                         const TensorSource& source);

}  // namespace sidestep::daemon

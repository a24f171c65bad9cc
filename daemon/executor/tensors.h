// Between the wire's tensors and LibTorch's, without copying.
#pragma once

#include <ATen/core/Tensor.h>

#include "net/status.h"
#include "net/tensor.h"

namespace sidestep::daemon {

net::DType wire_type(at::ScalarType type);
at::ScalarType scalar_type(net::DType type);

// Shares the tensor's memory with the result, which keeps it alive. A tensor that is not contiguous is copied
// first. What the tensor's owner writes later shows in the payload. Precondition: it lies in the host's
// memory.
net::Tensor to_wire(const at::Tensor& tensor);

// A CPU tensor that reads the payload's memory and keeps its owner alive. Nobody may write into it: the
// payload may be shared. Memory that is not aligned to 64 bytes, as received frames mostly are, is copied
// when `aligned`: matrix products then give the same bits wherever the bytes came from; otherwise only when
// it is not aligned to its element. A payload that does not fit its shape is Status invalid.
Result<at::Tensor> from_wire(const net::Tensor& tensor, bool aligned);

}  // namespace sidestep::daemon

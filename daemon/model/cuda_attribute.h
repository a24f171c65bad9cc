// What a GPU is like, out of the CUDA runtime that libtorch_cuda.so brought along: the program links none.
// Functions; any thread.
#pragma once

#include <c10/core/Device.h>

namespace sidestep::daemon {

// Of CUDA's enum cudaDeviceAttr, whose numbers never change.
enum class CudaAttribute : int { multiprocessors = 16, capability_major = 75, capability_minor = 76 };

// 0 if there is no CUDA runtime in this process, or no such GPU.
int cuda_attribute(CudaAttribute which, at::Device device);

}  // namespace sidestep::daemon

// What this machine offers to a runner.
#pragma once

#include <cstdint>
#include <string>

#include "net/status.h"

namespace sidestep::daemon {

// Nodes of one class compute the same bits: "cpu-avx512-authenticamd". The libraries behind LibTorch pick
// their kernels by instruction set and by maker.
std::string device_class();

// Whether something may run on that device here, before anything of it is allocated.
Status check_device(const std::string& device);

// Bytes of memory that this process may use: the machine's, or its control group's limit if that is lower.
// 0 if neither can be read.
std::uint64_t memory_limit_bytes();

// Bytes of memory that this process holds now, shared libraries included; 0 if that cannot be read.
std::uint64_t resident_bytes();

}  // namespace sidestep::daemon

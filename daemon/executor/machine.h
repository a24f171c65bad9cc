// What this machine offers to a runner that computes on its CPU.
#pragma once

#include <cstdint>
#include <string>

namespace sidestep::daemon {

// "cpu-avx512-authenticamd". The libraries behind LibTorch pick their kernels by instruction set and by
// maker.
std::string cpu_class();

// Bytes of memory that this process may use: the machine's, or its control group's limit if that is lower.
// 0 if neither can be read.
std::uint64_t memory_limit_bytes();

// Bytes of memory that this process holds now, shared libraries included; 0 if that cannot be read.
std::uint64_t resident_bytes();

}  // namespace sidestep::daemon

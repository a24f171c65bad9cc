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

// Bytes of memory that this process holds now and that no other could have: not the pages of files (mapped
// data, snapshots, shared libraries), which the kernel takes back when memory is short. 0 if that cannot be
// read.
std::uint64_t resident_bytes();

// The LibTorch that this process runs with.
struct LibTorch {
  std::string wanted;   // the version that the program was built for, "2.11.0"
  std::string version;  // what the folder says of itself; empty if it does not
  std::string folder;   // that lib/ is in; empty if it cannot be told
};
LibTorch loaded_libtorch();

}  // namespace sidestep::daemon

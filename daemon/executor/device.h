// The device that an executor computes on: this machine's CPU, or an NVIDIA GPU through libtorch_cuda.so,
// which the program does not link but opens when a GPU is asked for. Functions; any thread.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <string>

#include "net/status.h"

namespace sidestep::daemon {

// Makes "cpu" or "cuda:N" usable in this process; opening twice is one opening. libtorch_cuda.so is looked
// for beside the libtorch_cpu.so that the program runs with. Call it before any other work with LibTorch:
// some of its code looks for CUDA once and remembers. Errors, each with what to do about it: invalid (no such
// name), refused (a LibTorch without CUDA; a library that the CUDA part needs is missing; no driver or one
// too old; no such GPU, and how many there are).
Result<at::Device> open_device(const std::string& name);

// Nodes of one class compute the same bits: "cpu-avx512-authenticamd", "cuda-sm90-132" (compute capability
// and number of multiprocessors). Precondition: opened.
std::string device_class(at::Device device);

// Memory that jobs may use, in bytes: of a GPU what is free now, without what ATen keeps for later; of the
// machine memory_limit_bytes(). Precondition: opened.
std::uint64_t device_memory_bytes(at::Device device);

// Of that memory, what this process holds now, in bytes: on a GPU what ATen has taken, on a CPU
// resident_bytes(). Precondition: opened.
std::uint64_t held_bytes(at::Device device);

// Gives what ATen keeps for later back: memory of the GPU and pinned memory of the host. Nothing on a CPU.
void release_cached_memory(at::Device device);

}  // namespace sidestep::daemon

// What a stage takes at its node, before anything is allocated. One sum: placement refuses by it, messages
// show it, and a test compares it with what a daemon then uses.
#pragma once

#include <cstdint>
#include <string>

#include "scheduler/job.h"

namespace sidestep::scheduler {

// Bytes at one node for one stage. Buffers are float32 whatever the job's precision; with bfloat16 there is a
// copy of the matrices beside them, and activations are half as large.
struct MemoryNeed {
  std::uint64_t weights = 0;
  std::uint64_t gradients = 0;
  std::uint64_t optimizer = 0;  // two moments
  std::uint64_t averaging = 0;  // the second buffer, and with other replicas their chunks on the way
  std::uint64_t slots = 0;      // microbatches whose activations are kept at a time
  std::uint64_t activations_a_slot = 0;
  std::uint64_t work = 0;      // tensors that live within one task: the largest of all tasks
  std::uint64_t messages = 0;  // activations that wait, leave or arrive

  // What is allocated when the job begins, and stays.
  std::uint64_t state() const { return weights + gradients + optimizer + averaging; }
  std::uint64_t activations() const { return slots * activations_a_slot; }
  std::uint64_t total() const { return state() + activations() + work + messages; }
  // "432 MiB (weights 68, gradients 68, optimizer 136, averaging 68, activations 4 x 20, work 10, messages
  // 2)"
  std::string text() const;
};

std::uint64_t stage_parameters(const JobSpec& job, std::int64_t stage);

// `replicas` of the stage, itself included.
MemoryNeed memory_need(const JobSpec& job, std::int64_t stage, std::uint64_t replicas);

// At the node that keeps a stage's mirror: the one that is whole, and the one that comes.
std::uint64_t mirror_bytes(const JobSpec& job, std::int64_t stage);

// "512 MiB", rounded up.
std::string mebibytes(std::uint64_t bytes);

}  // namespace sidestep::scheduler

// Memory of CPU tensors. A microbatch asks for the same few sizes as the one before it, so blocks are kept by
// size and given out again: no page is faulted in twice, nothing is fragmented, and the process takes what
// its tensors took at their peak. (The C library's heap took 40 % more at four stages of two layers.)
#pragma once

#include <c10/core/Allocator.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace sidestep::daemon {

// Any thread: a tensor's last owner may be a network thread. Lives as long as the process, as tensors may.
class TensorPool : public c10::Allocator {
 public:
  // Makes it the allocator of every CPU tensor from now on; again does nothing.
  static TensorPool& install();

  // Throws c10::Error when there is no memory.
  c10::DataPtr allocate(std::size_t bytes) override;
  // Takes the data pointer itself: oneDNN's scratch memory is asked for without a DataPtr around it.
  c10::DeleterFnPtr raw_deleter() const override;
  void copy_data(void* to, const void* from, std::size_t bytes) const override;

  // Gives what no tensor uses back to the system.
  void trim();

  // In tensors, and kept for the next ones; of large blocks alone.
  std::uint64_t used_bytes() const;
  std::uint64_t kept_bytes() const;

 private:
  static void release(void* data);
  void* take(std::size_t bytes);

  mutable std::mutex mutex_;
  std::unordered_map<void*, std::size_t> used_;     // large blocks, with their sizes
  std::map<std::size_t, std::vector<void*>> kept_;  // by size
  std::uint64_t used_bytes_ = 0;
  std::uint64_t kept_bytes_ = 0;
};

}  // namespace sidestep::daemon

#include "daemon/executor/tensor_pool.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <c10/util/Exception.h>
#include <sys/mman.h>

#include <cstring>
#include <utility>

namespace sidestep::daemon {
namespace {

constexpr std::size_t pooled_bytes_min = 256u << 10;  // smaller ones are the C library's
constexpr std::size_t granule_bytes = 64u << 10;
constexpr std::uint8_t above_default_priority = 1;

std::size_t rounded(std::size_t bytes) { return (bytes + granule_bytes - 1) / granule_bytes * granule_bytes; }

}  // namespace

TensorPool& TensorPool::install() {
  // Never destroyed: static tensors of LibTorch may outlive every other object.
  static TensorPool* pool = [] {
    auto* made = new TensorPool();
    c10::SetCPUAllocator(made, above_default_priority);
    return made;
  }();
  return *pool;
}

c10::DataPtr TensorPool::allocate(std::size_t bytes) {
  void* data = bytes == 0 ? nullptr : bytes < pooled_bytes_min ? c10::alloc_cpu(bytes) : take(rounded(bytes));
  return {data, data, &TensorPool::release, c10::Device(c10::DeviceType::CPU)};
}

c10::DeleterFnPtr TensorPool::raw_deleter() const { return &TensorPool::release; }

void* TensorPool::take(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  void* data = nullptr;
  if (const auto same = kept_.find(bytes); same != kept_.end()) {
    data = same->second.back();
    same->second.pop_back();
    if (same->second.empty()) kept_.erase(same);
    kept_bytes_ -= bytes;
  } else {
    data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    // LibTorch's own words, which task_text.cpp turns into ours.
    TORCH_CHECK(data != MAP_FAILED, "DefaultCPUAllocator: can't allocate memory: you tried to allocate ",
                bytes, " bytes.");
  }
  used_.emplace(data, bytes);
  used_bytes_ += bytes;
  return data;
}

void TensorPool::release(void* data) {
  if (data == nullptr) return;
  TensorPool& pool = install();
  {
    const std::lock_guard lock(pool.mutex_);
    if (const auto block = pool.used_.extract(data); !block.empty()) {
      pool.kept_[block.mapped()].push_back(data);
      pool.used_bytes_ -= block.mapped();
      pool.kept_bytes_ += block.mapped();
      return;
    }
  }
  c10::free_cpu(data);
}

void TensorPool::copy_data(void* to, const void* from, std::size_t bytes) const {
  std::memcpy(to, from, bytes);
}

void TensorPool::trim() {
  const std::lock_guard lock(mutex_);
  for (const auto& [bytes, blocks] : std::exchange(kept_, {}))
    for (void* data : blocks) ::munmap(data, bytes);
  kept_bytes_ = 0;
}

std::uint64_t TensorPool::used_bytes() const {
  const std::lock_guard lock(mutex_);
  return used_bytes_;
}

std::uint64_t TensorPool::kept_bytes() const {
  const std::lock_guard lock(mutex_);
  return kept_bytes_;
}

}  // namespace sidestep::daemon

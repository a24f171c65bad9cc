#include "daemon/executor/device.h"

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <ATen/core/CachingHostAllocator.h>
#include <ATen/core/Tensor.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <filesystem>

#include "daemon/core/device_name.h"
#include "daemon/executor/machine.h"
#include "daemon/model/cuda_attribute.h"
#include "net/assert.h"

namespace sidestep::daemon {
namespace {

constexpr const char* library_name = "libtorch_cuda.so";
constexpr const char* or_cpu = ", or set \"device\" to \"cpu\"";

// Where the libtorch_cpu.so that this process runs with lies.
std::filesystem::path libtorch_folder() {
  Dl_info info{};
  const auto known = reinterpret_cast<const void*>(&at::show_config);  // a function of libtorch_cpu.so
  return dladdr(known, &info) != 0 && info.dli_fname != nullptr
             ? std::filesystem::path(info.dli_fname).parent_path()
             : std::filesystem::path();
}

Status open_library() {
  const std::filesystem::path path = libtorch_folder() / library_name;
  std::error_code problem;
  if (!std::filesystem::exists(path, problem))
    return Status::refused("there is no " + path.string() +
                           ": this LibTorch is one for CPUs only; use one with CUDA (in a bundle: "
                           "bin/get-libtorch --cuda)" +
                           or_cpu);
  if (dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr) return {};
  const char* why = dlerror();
  return Status::refused(path.string() + " cannot be opened: " + (why != nullptr ? why : "unknown reason") +
                         "; install the CUDA libraries of this LibTorch (in a bundle: bin/get-libtorch "
                         "--cuda; by pip: torch with its dependencies)" +
                         or_cpu);
}

std::string first_line(const char* text) {
  const std::string whole = text;
  return whole.substr(0, whole.find('\n'));
}

// Fails where there is no driver, one that is too old, or no GPU; LibTorch says which.
Status start_cuda() {
  try {
    at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
    return {};
  } catch (const c10::Error& error) {
    return Status::refused(first_line(error.what_without_backtrace()) +
                           "; `nvidia-smi` shows what the driver sees; install or update the driver" +
                           or_cpu);
  }
}

Status open_cuda(int index) {
  static const Status opened = open_library();  // what is missing now stays missing for this process
  if (!opened.ok()) return opened;
  if (Status status = start_cuda(); !status.ok()) return status;
  const int count = c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).deviceCount();
  if (index < count) return {};
  return Status::refused("this process sees " + std::to_string(count) +
                         (count == 1 ? " GPU, \"cuda:0\"" : " GPUs, \"cuda:0\" and on") +
                         (count == 0 ? "" : "; name one of those") + or_cpu);
}

}  // namespace

Result<at::Device> open_device(const std::string& name) {
  const auto parsed = parse_device_name(name);
  if (!parsed.ok()) return parsed.status();
  if (!parsed.value().cuda) return at::Device(at::kCPU);
  if (const Status status = open_cuda(parsed.value().index); !status.ok())
    return status.with_context("device \"" + name + "\"");
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(parsed.value().index));
}

std::string device_class(at::Device device) {
  if (device.is_cpu()) return cpu_class();
  const auto number = [device](CudaAttribute which) { return std::to_string(cuda_attribute(which, device)); };
  return "cuda-sm" + number(CudaAttribute::capability_major) + number(CudaAttribute::capability_minor) + "-" +
         number(CudaAttribute::multiprocessors);
}

std::uint64_t device_memory_bytes(at::Device device) {
  if (device.is_cpu()) return memory_limit_bytes();
  release_cached_memory(device);
  return c10::getDeviceAllocator(c10::DeviceType::CUDA)->getMemoryInfo(device.index()).first;
}

std::uint64_t held_bytes(at::Device device) {
  if (device.is_cpu()) return resident_bytes();
  const auto stats = c10::getDeviceAllocator(c10::DeviceType::CUDA)->getDeviceStats(device.index());
  constexpr auto all = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return static_cast<std::uint64_t>(stats.reserved_bytes[all].current);
}

void release_cached_memory(at::Device device) {
  if (!device.is_cuda()) return;
  c10::getDeviceAllocator(c10::DeviceType::CUDA)->emptyCache();
  at::getHostAllocator(c10::DeviceType::CUDA)->empty_cache();
}

}  // namespace sidestep::daemon

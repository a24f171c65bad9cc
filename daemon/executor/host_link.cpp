#include "daemon/executor/host_link.h"

#include <ATen/ops/empty.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace sidestep::daemon {
namespace {

c10::impl::VirtualGuardImpl streams(at::Device device) { return c10::impl::VirtualGuardImpl(device.type()); }

at::Tensor pinned_like(const at::Tensor& tensor) {
  return at::empty(tensor.sizes(),
                   at::TensorOptions().dtype(tensor.scalar_type()).device(at::kCPU).pinned_memory(true));
}

}  // namespace

HostLink::Lane::Lane(at::Device device)
    : compute(streams(device).getStream(device)),
      copies(streams(device).getStreamFromGlobalPool(device)),
      computed(device.type()),
      copied(device.type()) {}

HostLink::HostLink(at::Device device) : device_(device) {
  if (device.is_cuda()) lane_.emplace(device);
}

at::Tensor HostLink::to_device(const at::Tensor& host) {
  if (!lane_) return host;
  const at::Tensor source = host.is_pinned() ? host : pinned_like(host).copy_(host);
  at::Tensor result = at::empty(host.sizes(), host.options().device(device_).pinned_memory(false));
  lane_->computed.record(lane_->compute);  // the memory of `result` may still be in use by kernels before
  lane_->computed.block(lane_->copies);
  {
    const c10::StreamGuard guard(lane_->copies);
    result.copy_(source, /*non_blocking=*/true);
  }
  lane_->copied.record(lane_->copies);
  lane_->copied.block(lane_->compute);
  return result;
}

at::Tensor HostLink::to_host(const at::Tensor& tensor) {
  const at::Tensor source = tensor.contiguous();
  if (!lane_) return source;
  at::Tensor host = pinned_like(source);
  lane_->computed.record(lane_->compute);
  lane_->computed.block(lane_->copies);
  {
    const c10::StreamGuard guard(lane_->copies);
    host.copy_(source, /*non_blocking=*/true);
  }
  lane_->copied.record(lane_->copies);
  lane_->copied.synchronize();
  return host;
}

void HostLink::wait() const {
  if (lane_) streams(device_).synchronizeStream(lane_->compute);
}

}  // namespace sidestep::daemon

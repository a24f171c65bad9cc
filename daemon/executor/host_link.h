// Carries tensors between the host's memory and the device's: nothing to do on a CPU; for a GPU through
// pinned buffers and on a stream of its own, which waits for the kernels it depends on and for nothing else.
//
// The executor runs one task at a time, and a task is complete only when its result is in the host's memory:
// so the copy of one task's output does not overlap the next task's kernels. What the pinned buffers give is
// the bus's full speed (about three times that of ordinary memory) without the driver's staging copy. ATen
// keeps freed ones for the next tensor of that size.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <optional>

namespace sidestep::daemon {

// Owner: a runner; its thread alone. Precondition: the device was opened (device.h). Throws c10::Error when
// there is no memory, or when a kernel before failed.
class HostLink {
 public:
  explicit HostLink(at::Device device);

  at::Device device() const { return device_; }
  // The tensor on the device; kernels that are started later see it. One in pinned memory is read in place,
  // and kept until it was.
  at::Tensor to_device(const at::Tensor& host);
  // The tensor in the host's memory, contiguous, complete on return; on a CPU the tensor itself if it is.
  at::Tensor to_host(const at::Tensor& tensor);
  // Until all that was started on the device has ended.
  void wait() const;

 private:
  // A GPU's copy stream, and what orders it against the kernels.
  struct Lane {
    explicit Lane(at::Device device);
    c10::Stream compute;
    c10::Stream copies;
    c10::Event computed;
    c10::Event copied;
  };

  at::Device device_;
  std::optional<Lane> lane_;  // none on a CPU
};

}  // namespace sidestep::daemon

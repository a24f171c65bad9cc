#include "daemon/model/cuda_attribute.h"

#include <dlfcn.h>

namespace sidestep::daemon {

int cuda_attribute(CudaAttribute which, at::Device device) {
  using Get = int (*)(int* value, int attribute, int device);
  static const auto get = reinterpret_cast<Get>(dlsym(RTLD_DEFAULT, "cudaDeviceGetAttribute"));
  int value = 0;
  return get != nullptr && get(&value, static_cast<int>(which), device.index()) == 0 ? value : 0;
}

}  // namespace sidestep::daemon

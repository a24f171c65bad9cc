// What a node computes on, as configs and messages write it: "cpu", "cuda:0". Values.
#pragma once

#include <string>

#include "net/status.h"

namespace sidestep::daemon {

struct DeviceName {
  bool cuda = false;
  int index = 0;  // of the GPU
};

// Errors: invalid, with what is allowed. Whether the device is there is the executor's to find out.
Result<DeviceName> parse_device_name(const std::string& text);

}  // namespace sidestep::daemon

#include "daemon/driver/advertise.h"

namespace sidestep::driver {

bool is_anywhere(const std::string& address) {
  return address.starts_with("0.0.0.0:") || address.starts_with("[::]:") || address.starts_with("*:");
}

std::string advertised_address(const std::string& configured, const std::string& bound) {
  if (configured.empty()) return bound;
  if (!configured.ends_with(":0")) return configured;
  return configured.substr(0, configured.size() - 1) + bound.substr(bound.rfind(':') + 1);
}

}  // namespace sidestep::driver

// The parts of the doctor. Only its own files include this.
#pragma once

#include <optional>

#include "daemon/driver/doctor.h"
#include "net/keys.h"

namespace sidestep::driver {

// What the local half found that the other one needs.
struct LocalState {
  std::optional<net::KeyPair> key;  // nothing: none there, or not usable
  bool daemon_runs = false;         // with this config, on this machine
};

LocalState examine_machine(const DoctorOptions& options);
// Nothing where the config names no cloud.
void examine_spot(const DoctorOptions& options);
// As examine().
bool examine_network(const DoctorOptions& options, const LocalState& local);

}  // namespace sidestep::driver

// Looks at everything that a daemon with this config will need, before it joins: on this machine, at the
// scheduler, and on the ways to and from the nodes that are alive. Changes nothing and uses up no invite.
// Blocking, seconds; one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "daemon/driver/node_config.h"
#include "net/clock.h"

namespace sidestep::driver {

enum class Verdict { ok, warning, failed };

std::string_view to_string(Verdict verdict);

struct Finding {
  std::string what;  // "key", "clock", "node attic"
  Verdict verdict = Verdict::ok;
  std::string text;  // what was tried, between which addresses, and what came of it
  std::string cure;  // one line; empty where nothing has to be done
};

// What only the program's wiring knows.
struct MachineFacts {
  std::string device_problem;            // why the config's device cannot be used, with a cure; empty: it can
  std::string device_class;              // what it is
  std::uint64_t memory_limit_bytes = 0;  // the machine's, or its control group's; of a GPU what is free on
                                         // it; 0: unknown
  std::string libtorch_wanted;           // version that the program was built for
  std::string libtorch_found;            // version that is loaded; empty: unknown
  std::string libtorch_folder;
};

struct DoctorOptions {
  NodeConfig config;
  MachineFacts machine;
  std::function<bool()> interrupted = [] { return false; };  // asked often; true ends every wait
  std::function<void(const Finding&)> found;                 // called with each, as it comes
  std::function<std::int64_t()> wall_us = net::wall_us;      // this machine's clock
};

// False: the scheduler cannot be reached.
bool examine(const DoctorOptions& options);

}  // namespace sidestep::driver

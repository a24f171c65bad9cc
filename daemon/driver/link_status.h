// Why the scheduler cannot be talked to, in words for the user.
#pragma once

#include <string>

#include "net/status.h"
#include "net/zmq_bus.h"

namespace sidestep::driver {

// refused when the scheduler does not admit our key, else unavailable; always names the address.
Status explain(const net::LinkReport& link, const std::string& scheduler_address,
               const net::NodeKey& own_key);

}  // namespace sidestep::driver

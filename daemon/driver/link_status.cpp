#include "daemon/driver/link_status.h"

namespace sidestep::driver {

Status explain(const net::LinkReport& link, const std::string& scheduler_address,
               const net::NodeKey& own_key) {
  switch (link.state) {
    case net::LinkState::up:
      return Status::unavailable("the scheduler at " + scheduler_address + " lets us in but does not answer");
    case net::LinkState::handshake_failed_auth:
      return Status::refused("the scheduler at " + scheduler_address + " does not know our key " +
                             own_key.hex() + "; an operator has to run: sidestep admit " + own_key.hex());
    case net::LinkState::handshake_failed_protocol:
      return Status::unavailable("what listens at " + scheduler_address +
                                 " is not the scheduler with the configured key; check scheduler.public_key");
    case net::LinkState::connecting:
    case net::LinkState::tcp_connected:
      return Status::unavailable("cannot reach the scheduler: " + link.reason);
  }
  return Status::internal("unknown state of a link");
}

}  // namespace sidestep::driver

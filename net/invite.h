// An invite as text: one line that lets one machine or operator in, once. It says where the scheduler is
// and which key it holds, and carries the secret half of a key pair that was made for this invite alone; of
// that pair the scheduler knows the public half. A pure codec; thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "net/keys.h"
#include "net/status.h"

namespace sidestep::net {

struct Invite {
  std::string scheduler_address;  // "host:port", as advertised
  NodeKey scheduler;
  SecretKey secret;  // proves the invite; never a node's own key
};

// "sidestep-invite-1-" and letters, digits, '-' and '_'. Precondition: the address is one to connect to.
std::string invite_token(const Invite& invite);

// Space around the token is no matter. Errors: invalid, saying in what way: no invite at all, cut short or
// mistyped (a checksum tells), or of another version.
Result<Invite> parse_invite_token(std::string_view text);

}  // namespace sidestep::net

// Whose scheduler it is: the keys that nodes' and operators' configs share, and what an invite says about
// them. Values.
#pragma once

#include <optional>
#include <string>

#include "net/invite.h"
#include "net/keys.h"
#include "net/status.h"
#include "scheduler/options.h"

namespace sidestep::driver {

struct SchedulerBlock {
  std::string address;     // "host:port"
  std::string public_key;  // 64 hexadecimal digits
  std::string token;       // of an invite, or empty
  std::optional<net::Invite> invite;
};

void add_scheduler_keys(scheduler::OptionTable& table, SchedulerBlock& block);

// Takes the invite apart and fills in what the file left to it. `token` stands in for one in the file, as
// $SIDESTEP_INVITE does; it may be empty.
void finish_scheduler_keys(SchedulerBlock& block, const std::string& token, scheduler::Problems& problems);

// $SIDESTEP_INVITE, or nothing.
std::string invite_from_environment();

// Reads the key file; one that is missing is made first where there is an invite. Errors: those of key files.
Result<net::KeyPair> own_key(const std::string& key_file, const SchedulerBlock& block);

}  // namespace sidestep::driver

// The `spot` block of a node's config: whose notices are watched for. Values.
#pragma once

#include <cstdint>
#include <string>

#include "scheduler/options.h"

namespace sidestep::driver {

inline constexpr const char* no_cloud = "none";

struct SpotBlock {
  std::string cloud = no_cloud;                 // or a key of spot_clouds()
  std::string endpoint = "169.254.169.254:80";  // link-local, the same in all three
  std::int64_t poll_s = 5;

  bool is_watched() const { return cloud != no_cloud; }
};

void add_spot_keys(scheduler::OptionTable& table, SpotBlock& block);
// Notes what the table cannot see.
void check_spot_keys(const SpotBlock& block, scheduler::Problems& problems);

}  // namespace sidestep::driver

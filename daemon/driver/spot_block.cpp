#include "daemon/driver/spot_block.h"

#include "daemon/driver/spot_cloud.h"

namespace sidestep::driver {

void add_spot_keys(scheduler::OptionTable& table, SpotBlock& block) {
  std::vector<std::string> clouds{no_cloud};
  for (const SpotCloud& cloud : spot_clouds()) clouds.push_back(cloud.key);
  table
      .add("spot.cloud", block.cloud,
           "cloud that may take this instance back: its notices are watched for, and the node leaves in time")
      .one_of(std::move(clouds));
  table.add("spot.endpoint", block.endpoint, "address and port of the cloud's metadata service");
  table.add("spot.poll_s", block.poll_s, "how often it is asked, in seconds").range(1, 60);
}

void check_spot_keys(const SpotBlock& block, scheduler::Problems& problems) {
  if (const auto endpoint = parse_endpoint(block.endpoint); !endpoint.ok())
    problems.add_key("spot.endpoint", endpoint.status().message());
}

}  // namespace sidestep::driver

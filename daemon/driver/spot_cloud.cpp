#include "daemon/driver/spot_cloud.h"

#include <algorithm>

#include "net/assert.h"

namespace sidestep::driver {
namespace {

// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
SpotCloud aws() {
  SpotCloud cloud{"aws", "AWS", std::nullopt, {}, true};
  cloud.introduction =
      HttpRequest{"PUT", "/latest/api/token", {{"X-aws-ec2-metadata-token-ttl-seconds", "21600"}}};
  cloud.questions = [](const std::string& token) -> std::vector<SpotQuestion> {
    const auto get = [&](const std::string& item) {
      return HttpRequest{"GET", "/latest/meta-data/" + item, {{"X-aws-ec2-metadata-token", token}}};
    };
    return {{get("spot/instance-action"),
             [](const std::string& body, std::int64_t) { return parse_aws_instance_action(body); }},
            {get("events/recommendations/rebalance"),
             [](const std::string& body, std::int64_t) { return parse_aws_rebalance(body); }}};
  };
  return cloud;
}

// https://cloud.google.com/compute/docs/instances/create-use-spot
SpotCloud gcp() {
  SpotCloud cloud{"gcp", "GCP", std::nullopt, {}, false};
  cloud.questions = [](const std::string&) -> std::vector<SpotQuestion> {
    const auto get = [](const std::string& item) {
      return HttpRequest{"GET", "/computeMetadata/v1/instance/" + item, {{"Metadata-Flavor", "Google"}}};
    };
    return {{get("preempted"), parse_gcp_preempted},
            {get("maintenance-event"),
             [](const std::string& body, std::int64_t) { return parse_gcp_maintenance(body); }}};
  };
  return cloud;
}

// https://learn.microsoft.com/azure/virtual-machines/linux/scheduled-events
SpotCloud azure() {
  const auto get = [](const std::string& item) {
    return HttpRequest{"GET", "/metadata/" + item, {{"Metadata", "true"}}};
  };
  SpotCloud cloud{"azure", "Azure", std::nullopt, {}, false};
  cloud.introduction = get("instance/compute/name?api-version=2021-02-01&format=text");
  cloud.questions = [get](const std::string& vm_name) -> std::vector<SpotQuestion> {
    return {{get("scheduledevents?api-version=2020-07-01"),
             [vm_name](const std::string& body, std::int64_t) { return parse_azure_events(body, vm_name); }}};
  };
  return cloud;
}

}  // namespace

const std::vector<SpotCloud>& spot_clouds() {
  static const std::vector<SpotCloud> clouds{aws(), gcp(), azure()};
  return clouds;
}

const SpotCloud& spot_cloud(const std::string& key) {
  const auto found = std::find_if(spot_clouds().begin(), spot_clouds().end(),
                                  [&](const SpotCloud& cloud) { return cloud.key == key; });
  SIDESTEP_ASSERT(found != spot_clouds().end());
  return *found;
}

}  // namespace sidestep::driver

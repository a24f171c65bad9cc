// The metadata service of a cloud, as far as spot notices go: what it demands of a request, and documents
// that a test changes while it is asked. All members may be called from any thread.
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "tests/support/http_mock.h"

namespace sidestep::testing {

inline constexpr const char* aws_token = "/latest/api/token";
inline constexpr const char* aws_action = "/latest/meta-data/spot/instance-action";
inline constexpr const char* aws_rebalance = "/latest/meta-data/events/recommendations/rebalance";
inline constexpr const char* gcp_preempted = "/computeMetadata/v1/instance/preempted";
inline constexpr const char* gcp_maintenance = "/computeMetadata/v1/instance/maintenance-event";
inline constexpr const char* azure_name =
    "/metadata/instance/compute/name?api-version=2021-02-01&format=text";
inline constexpr const char* azure_events = "/metadata/scheduledevents?api-version=2020-07-01";

class MetadataMock {
 public:
  // "aws", "gcp" or "azure": with no notice, on a machine that Azure calls spot-vm_3.
  explicit MetadataMock(std::string cloud);

  const std::string& address() const { return server_.address(); }
  // What is there from now on, for requests that fulfil the cloud's demands.
  void put(const std::string& target, MockAnswer answer);
  // Status 404 from now on.
  void take_away(const std::string& target);
  // AWS: tokens given so far are good no more.
  void expire_token();
  // How many requests have come for it, answered or refused.
  int asked(const std::string& target) const;

 private:
  MockAnswer answer(const MockRequest& request);
  MockAnswer give_token(const MockRequest& request);
  // Status 0: nothing is wrong with it.
  unsigned refusal(const MockRequest& request) const;

  const std::string cloud_;
  mutable std::mutex mutex_;  // of what follows, but for the server
  std::map<std::string, MockAnswer> documents_;
  std::map<std::string, int> asked_;
  int token_ = 0;
  HttpMock server_;
};

}  // namespace sidestep::testing

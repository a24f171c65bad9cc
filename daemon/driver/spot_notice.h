// What clouds say before they take an instance back. Pure: text comes in, values go out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "net/status.h"

namespace sidestep::driver {

struct SpotNotice {
  enum class Kind {
    warning,  // the instance may be taken, or stand still for a while; nothing is certain
    end,      // it will be taken
  };
  Kind kind = Kind::warning;
  std::optional<std::int64_t> deadline_us;  // wall clock; nothing: the cloud names no time
  std::string text;                         // "AWS will stop this instance"
  bool operator==(const SpotNotice&) const = default;
};

// "AWS will stop this instance at 12:03:04Z, in 118 s". With a date where that is not within a day.
std::string describe(const SpotNotice& notice, std::int64_t wall_us);

// Each takes the body of one answer: nothing when it says that nothing is coming. Errors: invalid, with the
// beginning of what was not understood.
using SpotAnswer = Result<std::optional<SpotNotice>>;

// meta-data/spot/instance-action. A time that cannot be read leaves the deadline open.
SpotAnswer parse_aws_instance_action(const std::string& body);
// meta-data/events/recommendations/rebalance
SpotAnswer parse_aws_rebalance(const std::string& body);
// instance/preempted. GCP names no time: its documentation gives an instance 30 s, counted here from
// `wall_us`.
SpotAnswer parse_gcp_preempted(const std::string& body, std::int64_t wall_us);
// instance/maintenance-event
SpotAnswer parse_gcp_maintenance(const std::string& body);
// scheduledevents. Events of other machines than `vm_name` mean nothing; of several the most urgent counts.
SpotAnswer parse_azure_events(const std::string& body, const std::string& vm_name);

// A token or a name: one printable word of at most 2048 bytes, which can go into a request. Errors: invalid.
Result<std::string> parse_word(const std::string& body);

// "2026-03-01T12:03:04Z" or "Sun, 01 Mar 2026 12:03:04 GMT", in microseconds since 1970.
std::optional<std::int64_t> parse_wall_time(const std::string& text);

}  // namespace sidestep::driver

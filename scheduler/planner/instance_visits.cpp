#include <algorithm>

#include "scheduler/planner/instance_parser.h"
#include "scheduler/planner/visit_share.h"

namespace sidestep::scheduler {

void InstanceParser::read_visits() {
  const bool can_check = stages_known_ && microbatches_known_;
  const Json* share = find("visit_share");
  const Json* slack_given = find("visit_slack");
  if (can_check) free_visits(in_);
  if (share == nullptr) {
    if (slack_given != nullptr) read_.refuse(top_["visit_slack"], R"(needs "visit_share")");
    read_visit_limits(can_check);
    return;
  }
  for (const char* other : {"min_visits_per_stage", "max_visits_per_stage"})
    if (find(other) != nullptr) read_.refuse(top_[other], R"(not together with "visit_share")");
  std::uint32_t slack = 0;
  const bool slack_good = optional_whole("visit_slack", slack);
  std::vector<double> weights;
  if (read_weights(*share, top_["visit_share"], weights) && slack_good && can_check)
    share_visits(in_, weights, slack);
}

bool InstanceParser::read_weights(const Json& share, const Place& at, std::vector<double>& weights) {
  if (share == "even" || share == "depth") {
    weights = share == "even" ? even_weights(in_.stages) : depth_weights(in_.stages);
    return true;
  }
  if (!share.is_array())
    return read_.refuse(
        at, "must be \"even\", \"depth\" or a list of one weight per stage, found " + brief(share));
  if (!per_stage(share, at, field("visit_share"), &FieldReader::number, weights)) return false;
  std::uint32_t weighty = 0;
  for (std::uint32_t s = 1; s < in_.stages; ++s)
    if (weights[s] > 0 && in_.stage_out[s] == 0) ++weighty;
  if (weighty + 1 >= in_.route_length()) return true;
  return read_.refuse(at, count_text(weighty, "live stage") + " past 0 with a weight, routes visit " +
                              std::to_string(in_.route_length() - 1));
}

void InstanceParser::read_visit_limits(bool can_check) {
  std::vector<std::uint32_t> limits;
  const auto given = [&](const char* key) {
    const Json* value = find(key);
    return value != nullptr &&
           per_stage(*value, top_[key], field(key), static_cast<WholeReader>(&FieldReader::whole), limits) &&
           can_check;
  };
  // A number for all is not meant for stage 0.
  const auto is_list = [&](const char* key) { return find(key)->is_array(); };
  if (given("max_visits_per_stage")) {
    const Place at = top_["max_visits_per_stage"];
    if (is_list("max_visits_per_stage") && limits[0] < in_.microbatches)
      read_.refuse(at[0], "stage 0 is visited by all " + std::to_string(in_.microbatches) + " microbatches");
    for (std::uint32_t s = 1; s < in_.stages; ++s) in_.max_visits[s] = std::min(in_.max_visits[s], limits[s]);
  }
  if (given("min_visits_per_stage")) {
    const Place at = top_["min_visits_per_stage"];
    const bool list = is_list("min_visits_per_stage");
    for (std::uint32_t s = list ? 0 : 1; s < in_.stages; ++s) {
      if (in_.stage_out[s] != 0) continue;
      if (limits[s] > in_.max_visits[s]) {
        read_.refuse(list ? at[s] : at,
                     std::to_string(limits[s]) + " visits, " +
                         (in_.max_visits[s] < in_.microbatches ? "max_visits_per_stage allows "
                                                               : "the microbatches of a step are ") +
                         std::to_string(in_.max_visits[s]));
        if (!list) return;
      } else if (s > 0) {
        in_.min_visits[s] = limits[s];
      }
    }
  }
}

}  // namespace sidestep::scheduler

// How visits spread over stages (design.md: visit_share). Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/planner/instance.h"

namespace sidestep::scheduler {

// One weight a stage; that of stage 0, which every microbatch visits, does not count.
std::vector<double> even_weights(std::uint32_t stages);
// 1/s for stage s: late stages are skipped more often.
std::vector<double> depth_weights(std::uint32_t stages);

// Visits a step, by stage, of the microbatches of the instance: in proportion to the weights over the live
// stages past 0, but none more than there are microbatches; what is above that goes to the others, in
// proportion again. Together they make routes of route_length(), or less where too few stages have a weight.
std::vector<double> visit_shares(const Instance& instance, const std::vector<double>& weights);

// Sets min_visits and max_visits to floor and ceiling of the shares, minus and plus slack, within 0 and the
// microbatches.
void share_visits(Instance& instance, const std::vector<double>& weights, std::uint32_t slack);
// No limits: 0 to all microbatches; stage 0 all, stages that are out none.
void free_visits(Instance& instance);

}  // namespace sidestep::scheduler

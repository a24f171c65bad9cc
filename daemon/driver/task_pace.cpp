#include "daemon/driver/task_pace.h"

#include <algorithm>

namespace sidestep::driver {

void TaskPace::on_start(std::int64_t now_us, const daemon::Task& task) {
  began_us_ = start_us_ = now_us;
  least_us_ = 0;
  has_gap_ = true;
  layers_of_a_stage_ = 0;
  if (std::holds_alternative<daemon::Forward>(task))
    least_us_ = least_.forward_us;
  else if (std::holds_alternative<daemon::Backward>(task))
    least_us_ = least_.backward_us;
  else if (std::holds_alternative<daemon::Head>(task))
    least_us_ = least_.head_us;
  else
    has_gap_ = false;
  if (has_gap_) start_us_ = std::max(now_us, busy_until_us_);
  if (const auto* probe = std::get_if<daemon::ProbeJob>(&task))
    layers_of_a_stage_ = probe->spec.layer_count(probe->spec.pipeline.stages - 1);
}

std::int64_t TaskPace::on_completion(std::int64_t now_us, daemon::Completion& completion) {
  if (layers_of_a_stage_ > 0) slow_probe(completion);
  if (!has_gap_) return now_us;
  completion.duration_us = std::max(completion.duration_us, least_us_);
  const std::int64_t end_us = start_us_ + std::max(least_us_, now_us - began_us_);
  busy_until_us_ = end_us + least_.gap_us;
  return end_us;
}

void TaskPace::slow_probe(daemon::Completion& completion) const {
  const std::int64_t stage_us = least_.forward_us + least_.backward_us;
  completion.layer_us =
      std::max(completion.layer_us, (stage_us + layers_of_a_stage_ - 1) / layers_of_a_stage_);
  completion.head_us = std::max(completion.head_us, least_.head_us);
}

}  // namespace sidestep::driver

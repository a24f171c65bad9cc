#include "daemon/core/step_timer.h"

#include <algorithm>
#include <utility>

namespace sidestep::daemon {

void StepTimer::begin(std::int64_t now_us) {
  begun_us_ = now_us;
  too_many_ = false;
  times_.tasks.clear();
  times_.averages.clear();
}

void StepTimer::task_ended(net::StepTask task) {
  if (!begun_us_ || too_many_) return;
  too_many_ = times_.tasks.size() == net::step_tasks_max;
  if (too_many_) return;
  // A message may have come while the node was still applying the Commit before.
  for (std::int64_t* time : {&task.ready_us, &task.begin_us, &task.end_us})
    *time = std::max<std::int64_t>(0, *time - *begun_us_);
  times_.tasks.push_back(task);
}

void StepTimer::average_begun(std::int64_t now_us, std::uint32_t stage, std::uint64_t bytes) {
  if (begun_us_) times_.averages.push_back({stage, now_us - *begun_us_, -1, bytes});
}

void StepTimer::average_ended(std::int64_t now_us, std::uint32_t stage) {
  if (!begun_us_) return;
  for (net::StepAverage& average : times_.averages)
    if (average.stage == stage && average.end_us < 0) average.end_us = now_us - *begun_us_;
}

std::optional<net::StepTimes> StepTimer::commit(std::int64_t now_us) {
  if (!begun_us_ || too_many_) return std::nullopt;
  net::StepTimes done = std::exchange(times_, {});
  done.commit_us = now_us - *std::exchange(begun_us_, std::nullopt);
  std::erase_if(done.averages, [](const net::StepAverage& average) { return average.end_us < 0; });
  std::ranges::sort(done.averages, {}, &net::StepAverage::stage);
  return done;
}

}  // namespace sidestep::daemon

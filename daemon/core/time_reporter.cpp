#include "daemon/core/time_reporter.h"

namespace sidestep::daemon {

void TimeReporter::on_commit(std::int64_t now_us) {
  std::optional<net::StepTimes> times = context_.timer.commit(now_us);
  if (!times || !context_.trains()) return;
  times->scope = context_.scope();
  measures_.add(*times);
  if (now_us >= next_measured_us_) {
    next_measured_us_ = now_us + measured_every_us;
    tell_measured();
  }
  if (times_every_ > 0 && context_.step % times_every_ == 0) ports_.tell_scheduler(*std::move(times));
}

void TimeReporter::tell_measured() {
  std::vector<net::StageSpeed> stages = measures_.stages();
  std::erase_if(stages, [&](const net::StageSpeed& stage) {
    return !scheduler::has_stage(context_.my_stages, stage.stage);  // it was relieved of that one
  });
  ports_.tell_scheduler(net::Measured{context_.scope(), std::move(stages), measures_.head_us(),
                                      measures_.averaging_bytes_per_s(), ports_.links()});
}

}  // namespace sidestep::daemon

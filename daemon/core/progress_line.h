// What the lead origin tells people at its commits: the loss, the speed, how long it will take. Pure.
#pragma once

#include <cstdint>

#include "daemon/core/job_context.h"
#include "scheduler/record.h"

namespace sidestep::daemon {

class ProgressLine {
 public:
  explicit ProgressLine(const JobContext& context) : context_(context) {}

  // Logs what there is to say of this commit; of steps that follow closely only some.
  void on_commit(std::int64_t now_us, const scheduler::RecordStep& record, bool last);

 private:
  std::string skip_losses(const scheduler::RecordStep& record) const;

  const JobContext& context_;
  std::int64_t logged_us_ = 0;
  std::uint64_t tokens_since_ = 0;
  std::int64_t time_since_us_ = 0;
};

}  // namespace sidestep::daemon

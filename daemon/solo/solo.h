// The same job in one process: every stage in one runner, straight through, microbatches in order.
// What a swarm's losses are measured against, and the quickest way to try a job file.
// Called by one thread, which it keeps until the end; nothing survives the call.
#pragma once

#include <functional>

#include "daemon/core/task_runner.h"
#include "net/status.h"
#include "scheduler/job.h"
#include "scheduler/record.h"

namespace sidestep::daemon {

// Told of each step when it is done, beginning with step 0 (weights initialised, no loss). A Status that
// is not ok ends the run, which then returns it: how a signal stops one.
using StepObserver = std::function<Status(const scheduler::RecordStep&)>;

// The steps it tells of are complete: written after a header they are a record that replays to the same
// losses. `duration_us` is compute time. A step whose loss or gradient is not finite makes no update.
// The job's `failures` strike between steps and its `recovery` makes up for them; under the policy
// "checkpoint" steps are told of again when they run again.
// Errors: the fault of the task that failed, with its step; the observer's Status; too many steps in a row
// without an update; refused, with the stages that were lost and cannot be had again.
Status run_solo(const scheduler::JobSpec& job, const TaskRunnerFactory& factory, const StepObserver& on_step);

}  // namespace sidestep::daemon

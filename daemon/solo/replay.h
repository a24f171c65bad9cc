// Follows a run record in one process: the same routes, on one runner per node of the record, adding
// gradients in the order in which each node added them, and compares the losses.
// Called by one thread, which it keeps until the end; nothing survives the call.
#pragma once

#include <cstdint>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "daemon/core/task_runner.h"
#include "net/status.h"
#include "scheduler/record.h"

namespace sidestep::daemon {

// One of a record's recoveries; `line`: of its step among those of all steps, the first is 0.
struct RecoveryAt {
  std::size_t line = 0;
  scheduler::RecordRecovery recovery;
};

// Of a record's steps from its first on.
std::vector<RecoveryAt> recoveries_of(const std::vector<scheduler::RecordStep>& steps);

// A record file: JSON lines, the header first, then one step a line, numbered from 0 without a gap; after a
// roll-back, whose recoveries say so, from the step after the checkpoint's commit on once more.
class RecordFile {
 public:
  // Errors: io (cannot be opened), invalid (no header); both name the file, and the line.
  static Result<RecordFile> open(const std::string& path);

  const scheduler::RecordHeader& header() const { return header_; }
  // Of all its steps, in order.
  const std::vector<RecoveryAt>& recoveries() const { return recoveries_; }
  // Nothing at the end of the file. Errors: invalid, naming file and line.
  Result<std::optional<scheduler::RecordStep>> next();

 private:
  RecordFile(std::string path, std::ifstream file) : path_(std::move(path)), file_(std::move(file)) {}
  Status find_recoveries();
  Status at_line(const std::string& what) const;

  std::string path_;
  std::ifstream file_;
  scheduler::RecordHeader header_;
  std::vector<RecoveryAt> recoveries_;
  std::uint64_t line_ = 0;
  std::uint64_t first_step_ = 0;  // that it begins with, by its job
  std::optional<std::uint64_t> last_step_;
};

// The steps to follow, in order; nothing after the last.
using StepSource = std::function<Result<std::optional<scheduler::RecordStep>>()>;
// Told of each step when it has been followed; a Status that is not ok ends the replay, which returns it.
using ReplayObserver =
    std::function<Status(const scheduler::RecordStep& recorded, const scheduler::RecordStep& replayed)>;

struct ReplayReport {
  std::uint64_t steps = 0;        // followed, step 0 not counted
  std::uint64_t losses = 0;       // compared: of microbatches, steps and validations
  double largest_difference = 0;  // relative to the recorded loss
  bool identical = true;          // every loss equal, bit for bit
  std::string first_difference;   // empty when identical; else where, and both losses
};

// Errors: invalid, when the record contradicts itself or cannot be followed, naming step, stage, node and
// microbatch; the fault of a task; the observer's Status. Different losses are no error: see the report.
// `recoveries`: those of all the steps.
Result<ReplayReport> replay(const scheduler::RecordHeader& header, const std::vector<RecoveryAt>& recoveries,
                            const StepSource& next_step, const TaskRunnerFactory& factory,
                            const ReplayObserver& on_step = {});

}  // namespace sidestep::daemon

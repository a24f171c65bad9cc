// "Export this job into this folder": for `export`, and for every command that works on a job's weights.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "daemon/driver/client.h"
#include "net/status.h"
#include "scheduler/record.h"

namespace sidestep {

struct ExportTarget {
  std::string job;
  std::string out;                    // folder
  std::string precision = "float32";  // "float32", "bfloat16"
  // Also stages above 0 whose state is only on nodes that are not here are made out of their neighbours;
  // those that nobody held at the job's last commit always are.
  bool rebuild = false;
};

struct ExportReport {
  std::string job;
  std::string state;         // of the job: "running", "done"
  std::uint64_t commit = 0;  // whose weights these are
  std::int64_t step = 0;     // updates that they have seen
  std::int64_t steps = 0;    // of the job
  std::int64_t parameters = 0;
  std::uint64_t bytes = 0;     // of the folder
  double seconds = 0;          // with waiting for the commit
  std::string tokenizer_note;  // not empty: the job's tokenizer is not in the folder, and why
  std::vector<scheduler::RecordRecovery> rebuilt;  // while exporting: stages that nobody could give
};

// Asks for a snapshot where the job runs, waits for it, pulls every stage from its nodes into files beside
// `out`, writes the folder (daemon/data/hf_export.h). An older export stays as it is until the new one is
// whole. A stage that nobody can give is made out of its neighbours. `tell` gets a line for people whenever
// something new is waited for. Errors: the scheduler's (client.h); a stage that none of its nodes can give;
// the disk's.
Result<ExportReport> export_job(driver::Client& client, const ExportTarget& target,
                                const std::function<void(const std::string&)>& tell);

}  // namespace sidestep

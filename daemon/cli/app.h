// The command line of `sidestep`: which words exist, what they take, and how a run ends.
#pragma once

#include <functional>
#include <string>

#include "daemon/cli/generate_request.h"
#include "daemon/driver/doctor.h"
#include "daemon/driver/task_thread.h"
#include "net/status.h"

namespace sidestep::cli {

// The program's exit status; README and --help say the same.
enum Exit : int { exit_ok = 0, exit_failed = 1, exit_usage = 2, exit_unreachable = 3 };

struct SoloRequest {
  std::string job;             // path of a job file; empty when the record says it all
  std::string replay;          // path of a record file; empty: run the job as planned
  std::string out;             // path for the record of this run; empty: none
  std::int64_t threads = 0;    // 0: what the record or the machine says
  std::string device = "cpu";  // what computes
  bool json = false;
};

struct ExportRequest {
  std::string config;  // the operator's config file
  std::string job;
  std::string out;                    // folder to write
  std::string precision = "float32";  // "float32", "bfloat16": of the written weights
  bool rebuild = false;               // also stages whose savers are not here
  bool json = false;
};

// What the command line needs and may not name: LibTorch lies behind all.
struct Wiring {
  driver::TaskThreadFactory task_thread;        // for `daemon`
  std::function<int(const SoloRequest&)> solo;  // returns an Exit
  std::function<int(const ExportRequest&)> export_job;
  std::function<int(const GenerateRequest&)> generate;
  std::function<driver::MachineFacts(const std::string& device)> machine;  // for `doctor`
};

// Parses and runs; returns the exit status. Called once, by main.
int run(int argc, const char* const* argv, const Wiring& wiring);

}  // namespace sidestep::cli

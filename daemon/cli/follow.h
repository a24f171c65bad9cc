// Watches a job until it has ended: progress and the warnings and errors of its log.
#pragma once

#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "daemon/driver/client.h"
#include "net/status.h"

namespace sidestep::cli {

// Between two looks at what goes on.
constexpr std::int64_t follow_poll_us = 300'000;

// One line that is rewritten in place on a terminal; plain lines, not too many, elsewhere.
class ProgressPrinter {
 public:
  ProgressPrinter(std::FILE* output, bool terminal) : output_(output), terminal_(terminal) {}
  ~ProgressPrinter() { end_line(); }

  // The state of the job now. Without a terminal, prints when a step was committed and `plain_every_us`
  // have passed since the last such line.
  void show(const nlohmann::json& summary, std::int64_t now_us);
  // A whole line above the one that is rewritten.
  void print(const std::string& line);

  static constexpr std::int64_t plain_every_us = 2'000'000;

 private:
  void end_line();

  std::FILE* output_;
  bool terminal_;
  bool line_open_ = false;
  std::string shown_;
  std::int64_t shown_at_us_ = 0;
};

// Asks again while the scheduler is away, up to `away_limit_us` at a stretch, saying so on standard error
// once each way.
class PatientClient {
 public:
  explicit PatientClient(driver::Client& client, std::int64_t away_limit_us = 120'000'000)
      : client_(client), away_limit_us_(away_limit_us) {}

  Result<nlohmann::json> ask(const std::string& verb, const nlohmann::json& body);
  void idle(std::int64_t duration_us) { client_.idle(duration_us); }

 private:
  driver::Client& client_;
  std::int64_t away_limit_us_;
};

// Follows until the job has ended or the user interrupts, who is told that the job runs on. Returns an
// Exit: 0 done (or left running), 1 failed or cancelled, 3 scheduler away for too long.
int follow_job(driver::Client& client, const std::string& job, bool json);

}  // namespace sidestep::cli

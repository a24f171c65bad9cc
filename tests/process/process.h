// Programs started by tests, with what they print; every wait has a bound and none sleeps.
// A Process is killed and awaited when it goes, and dies with the test program.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace sidestep::testing {

using Seconds = std::chrono::duration<double>;

struct ProcessOptions {
  std::vector<std::string> prefix = {};       // "ip netns exec NAME"
  std::vector<std::string> environment = {};  // "NAME=value", added
};

class Process {
 public:
  // Starts `sidestep ARGUMENTS...`.
  explicit Process(const std::vector<std::string>& arguments, const ProcessOptions& options = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  // Standard output and error as far as read by the waits below.
  const std::string& output() const { return output_; }
  const std::string& error() const { return error_; }

  // True as soon as the text has been printed, on either; false when it ended or the limit passed before.
  bool wait_for(const std::string& text, Seconds limit);
  // Exit status, or minus the signal that ended it; nothing when the limit passed before.
  std::optional<int> wait_exit(Seconds limit);
  void signal(int number) const;

 private:
  bool read_some(Seconds limit);  // false: nothing came in time and it runs on
  void drain(int& fd, std::string& into);

  pid_t pid_ = -1;
  int pidfd_ = -1;
  int output_fd_ = -1;
  int error_fd_ = -1;
  bool ended_ = false;
  int status_ = 0;
  std::string output_;
  std::string error_;
};

struct Finished {
  int status = 0;  // as Process::wait_exit; -1000 when it did not end in time
  std::string output;
  std::string error;
};

// Runs `sidestep ARGUMENTS...` to its end.
Finished run(const std::vector<std::string>& arguments, Seconds limit = Seconds(30),
             const ProcessOptions& options = {});

// Processes whose command line names `text`.
std::vector<pid_t> processes_naming(const std::string& text);
// Waits for their end; false if one is still there when the limit passes.
bool wait_gone(const std::vector<pid_t>& pids, Seconds limit);

}  // namespace sidestep::testing

// Child processes of `sidestep up`: this program itself, started again with other arguments.
// A child is killed by the kernel when its parent ends in any way, so that none is left behind.
// One thread starts, awaits and signals children: the kernel ties a child's life to that thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "net/status.h"

namespace sidestep::cli {

struct ChildExit {
  pid_t pid = 0;
  int status = 0;  // as waitpid gives it

  // "ended with status 1", "was killed by signal 9 (Killed)".
  std::string text() const;
};

// Starts `sidestep ARGUMENTS...` with standard input closed, standard output and error appended to
// `output_path`, and in a process group of its own, so that Ctrl-C reaches the parent alone.
// Errors: io.
Result<pid_t> start_child(const std::vector<std::string>& arguments, const std::string& output_path);

// A child that has ended since the last call, if any; never waits.
std::optional<ChildExit> reap_child();

// While it lives, SIGINT, SIGTERM, SIGHUP and SIGCHLD are held back for wait(). One at a time, made
// before any thread. Children start with the mask from before.
class SignalWait {
 public:
  SignalWait();
  ~SignalWait();
  SignalWait(const SignalWait&) = delete;
  SignalWait& operator=(const SignalWait&) = delete;

  // The next of these signals, or nothing when `limit_us` has passed.
  std::optional<int> wait(std::int64_t limit_us);
};

}  // namespace sidestep::cli

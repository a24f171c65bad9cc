#include "daemon/cli/children.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace sidestep::cli {
namespace {

sigset_t awaited_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&set, signal);
  return set;
}

}  // namespace

std::string ChildExit::text() const {
  if (WIFSIGNALED(status))
    return "was killed by signal " + std::to_string(WTERMSIG(status)) + " (" + strsignal(WTERMSIG(status)) +
           ")";
  return "ended with status " + std::to_string(WEXITSTATUS(status));
}

Result<pid_t> start_child(const std::vector<std::string>& arguments, const std::string& output_path) {
  const int output = open(output_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (output < 0) return Status::io(output_path + ": " + std::strerror(errno));
  const int input = open("/dev/null", O_RDONLY | O_CLOEXEC);
  std::vector<char*> argv{const_cast<char*>("sidestep")};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const sigset_t unblocked = awaited_signals();
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    // Only calls that are safe between fork and exec.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(126);  // the parent ended before the line above
    setpgid(0, 0);
    dup2(input, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    sigprocmask(SIG_UNBLOCK, &unblocked, nullptr);
    execv("/proc/self/exe", argv.data());
    _exit(127);
  }
  const int problem = errno;
  close(output);
  close(input);
  if (pid < 0) return Status::io(std::string("cannot start a process: ") + std::strerror(problem));
  return pid;
}

std::optional<ChildExit> reap_child() {
  ChildExit ended;
  ended.pid = waitpid(-1, &ended.status, WNOHANG);
  if (ended.pid <= 0) return std::nullopt;
  return ended;
}

SignalWait::SignalWait() {
  const sigset_t set = awaited_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

SignalWait::~SignalWait() {
  const sigset_t set = awaited_signals();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

std::optional<int> SignalWait::wait(std::int64_t limit_us) {
  const sigset_t set = awaited_signals();
  const timespec limit{limit_us / 1'000'000, limit_us % 1'000'000 * 1000};
  const int signal = sigtimedwait(&set, nullptr, &limit);
  if (signal < 0) return std::nullopt;
  return signal;
}

}  // namespace sidestep::cli

#include "tests/process/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace sidestep::testing {
namespace {

using Clock = std::chrono::steady_clock;

int open_pidfd(pid_t pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }

int milliseconds(Seconds limit) {
  return limit.count() <= 0
             ? 0
             : static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(limit).count()) + 1;
}

}  // namespace

Process::Process(const std::vector<std::string>& arguments, const ProcessOptions& options) {
  std::vector<std::string> words = options.prefix;
  words.push_back(SIDESTEP_PROGRAM);
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::array<int, 2> out{};
  std::array<int, 2> err{};
  REQUIRE(pipe2(out.data(), O_CLOEXEC) == 0);
  REQUIRE(pipe2(err.data(), O_CLOEXEC) == 0);
  std::vector<std::string> environment = options.environment;
  pid_ = fork();
  REQUIRE(pid_ >= 0);
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(out[1], STDOUT_FILENO);
    dup2(err[1], STDERR_FILENO);
    for (std::string& variable : environment) putenv(variable.data());
    execvp(argv[0], argv.data());
    _exit(127);
  }
  close(out[1]);
  close(err[1]);
  output_fd_ = out[0];
  error_fd_ = err[0];
  for (const int fd : {output_fd_, error_fd_}) fcntl(fd, F_SETFL, O_NONBLOCK);
  pidfd_ = open_pidfd(pid_);
  REQUIRE(pidfd_ >= 0);
}

Process::~Process() {
  if (!ended_) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  for (const int fd : {output_fd_, error_fd_, pidfd_})
    if (fd >= 0) close(fd);
}

void Process::signal(int number) const {
  if (!ended_) kill(pid_, number);
}

void Process::drain(int& fd, std::string& into) {
  std::array<char, 65536> buffer;
  while (fd >= 0) {
    const ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got > 0) {
      into.append(buffer.data(), static_cast<std::size_t>(got));
    } else if (got == 0) {
      close(fd);
      fd = -1;
    } else {
      return;  // nothing more for now
    }
  }
}

bool Process::read_some(Seconds limit) {
  std::array<pollfd, 3> watched{{{output_fd_, POLLIN, 0}, {error_fd_, POLLIN, 0}, {pidfd_, POLLIN, 0}}};
  if (poll(watched.data(), watched.size(), milliseconds(limit)) <= 0) return false;
  const bool ended = watched[2].revents != 0;
  drain(output_fd_, output_);
  drain(error_fd_, error_);
  if (ended && !ended_) {
    int status = 0;
    waitpid(pid_, &status, 0);
    ended_ = true;
    status_ = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  }
  return true;
}

bool Process::wait_for(const std::string& text, Seconds limit) {
  const auto end = Clock::now() + limit;
  while (true) {
    if (output_.find(text) != std::string::npos || error_.find(text) != std::string::npos) return true;
    if (ended_ || Clock::now() >= end) return false;
    read_some(end - Clock::now());
  }
}

std::optional<int> Process::wait_exit(Seconds limit) {
  const auto end = Clock::now() + limit;
  while (!ended_) {
    if (Clock::now() >= end) return std::nullopt;
    read_some(end - Clock::now());
  }
  return status_;
}

Finished run(const std::vector<std::string>& arguments, Seconds limit, const ProcessOptions& options) {
  Process process(arguments, options);
  const auto status = process.wait_exit(limit);
  return {status.value_or(-1000), process.output(), process.error()};
}

std::vector<pid_t> processes_naming(const std::string& text) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "cmdline", std::ios::binary);
    const std::string command{std::istreambuf_iterator<char>(file), {}};
    if (command.find(text) != std::string::npos) found.push_back(std::stoi(name));
  }
  return found;
}

bool wait_gone(const std::vector<pid_t>& pids, Seconds limit) {
  const auto end = Clock::now() + limit;
  for (const pid_t pid : pids) {
    const int fd = open_pidfd(pid);
    if (fd < 0) continue;  // gone already
    pollfd watched{fd, POLLIN, 0};
    const int ready = poll(&watched, 1, milliseconds(end - Clock::now()));
    close(fd);
    if (ready <= 0) return false;
  }
  return true;
}

}  // namespace sidestep::testing

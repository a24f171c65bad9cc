// A temporary folder with a text, small jobs and a local swarm, for the process tests.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/process/process.h"

namespace sidestep::testing {

// Removed with all that is in it.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string string() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

void write_text(const std::string& path, const std::string& text);
std::string read_text(const std::string& path);
nlohmann::json read_json(const std::string& path);
std::vector<nlohmann::json> json_lines(const std::string& text);

// A tiny model on a text that is made here; a step takes milliseconds. `stages` divide its 6 layers.
nlohmann::json small_job(const TemporaryFolder& folder, const std::string& name, int stages, int steps);
// The file that it is written to.
std::string write_job(const TemporaryFolder& folder, const nlohmann::json& job);
// What `sidestep solo --replay` says at its end of the run record in this file; it has to succeed.
nlohmann::json replay_of(const std::string& record);

// `sidestep up` in a folder of its own, ready.
class LocalSwarm {
 public:
  // `flags` are more of `sidestep up`.
  explicit LocalSwarm(int nodes, const std::vector<std::string>& flags = {});

  const TemporaryFolder& folder() const { return folder_; }
  Process& up() { return *up_; }
  std::string dir() const { return folder_ / "swarm"; }
  std::string operator_config() const { return dir() + "/operator.json"; }
  std::string scheduler_config() const { return dir() + "/scheduler/scheduler.json"; }
  pid_t scheduler_pid() const;
  pid_t node_pid(int node) const;  // from 1
  // The node that holds the running job's stage, alone.
  int holder_of(std::size_t stage) const;
  // Everything that the swarm's processes have logged, for a failing test.
  std::string logs() const;

  // `sidestep ARGUMENTS... --config operator.json`
  Finished ask(std::vector<std::string> arguments) const;
  nlohmann::json ask_json(std::vector<std::string> arguments) const;
  std::unique_ptr<Process> start(std::vector<std::string> arguments) const;
  // Submits and follows.
  std::unique_ptr<Process> submit(const nlohmann::json& job) const;
  // The file that the job's run record is written to.
  std::string record_file(const std::string& job) const;

 private:
  TemporaryFolder folder_;
  std::unique_ptr<Process> up_;
};

}  // namespace sidestep::testing

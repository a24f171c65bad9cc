// A swarm on machines of its own: network namespaces on one bridge, a scheduler in the first, a daemon in
// each of the others, with cables that can be pulled. Needs root.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/process/swarm_fixture.h"

namespace sidestep::testing {

class Machines {
 public:
  // `emulate` goes into each daemon's config, its links to all others in it with this latency; null: none.
  Machines(int subnet, int nodes, const nlohmann::json& emulate = nullptr, double latency_s = 0);
  ~Machines();
  Machines(const Machines&) = delete;
  Machines& operator=(const Machines&) = delete;

  // False: this machine does not allow it; then nothing else may be called.
  bool made() const { return made_; }
  // Starts the scheduler and all daemons and waits until they have joined.
  void start();
  void start_scheduler();
  void start_node(int node);  // from 1
  Process& scheduler() { return *scheduler_; }
  Process& node(int node) { return *nodes_[static_cast<std::size_t>(node - 1)]; }
  int node_of(const std::string& key) const;
  void pull_cable(int node);
  void plug_cable(int node);

  const TemporaryFolder& folder() const { return folder_; }
  Finished ask(std::vector<std::string> arguments) const;
  nlohmann::json ask_json(std::vector<std::string> arguments) const;
  std::unique_ptr<Process> submit(const nlohmann::json& job) const;
  std::string logs() const;

 private:
  std::string name(int machine) const;  // 0: the scheduler's
  std::string host(int machine) const;
  std::string device(int machine) const { return "b" + std::to_string(machine); }  // on the bridge
  ProcessOptions on(int machine) const { return {{"ip", "netns", "exec", name(machine)}, {}}; }
  bool connect(int machine) const;
  void write_configs(const nlohmann::json& emulate, double latency_s);

  int subnet_;
  int count_;
  bool made_ = false;
  TemporaryFolder folder_;
  std::vector<std::string> keys_;  // public, by machine
  std::unique_ptr<Process> scheduler_;
  std::vector<std::unique_ptr<Process>> nodes_;
};

}  // namespace sidestep::testing

#include "tests/process/machines.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>

namespace sidestep::testing {
namespace {

bool ip(const std::string& arguments) {
  return std::system(("ip " + arguments + " 2>/dev/null").c_str()) == 0;
}

}  // namespace

std::string Machines::name(int machine) const {
  return "sidestep-" + std::to_string(getpid()) + "-" + std::to_string(subnet_) + "-" +
         std::to_string(machine);
}

std::string Machines::host(int machine) const {
  return "10.214." + std::to_string(subnet_) + "." + std::to_string(machine + 1);
}

bool Machines::connect(int machine) const {
  const std::string at = "-n " + name(machine) + " ";
  return ip("netns add " + name(machine)) && ip(at + "link set lo up") &&
         ip("link add e" + std::to_string(machine) + " netns " + name(machine) + " type veth peer name " +
            device(machine) + " netns " + name(0)) &&
         ip(at + "address add " + host(machine) + "/24 dev e" + std::to_string(machine)) &&
         ip(at + "link set e" + std::to_string(machine) + " up") &&
         ip("-n " + name(0) + " link set " + device(machine) + " master hub up");
}

Machines::Machines(int subnet, int nodes, const nlohmann::json& emulate, double latency_s)
    : subnet_(subnet), count_(nodes) {
  made_ = ip("netns add " + name(0)) && ip("-n " + name(0) + " link set lo up") &&
          ip("-n " + name(0) + " link add hub type bridge") &&
          ip("-n " + name(0) + " address add " + host(0) + "/24 dev hub") &&
          ip("-n " + name(0) + " link set hub up");
  for (int machine = 1; machine <= count_ && made_; ++machine) made_ = connect(machine);
  if (made_) write_configs(emulate, latency_s);
}

Machines::~Machines() {
  nodes_.clear();
  scheduler_.reset();
  for (int machine = 0; machine <= count_; ++machine) ip("netns delete " + name(machine));
}

void Machines::write_configs(const nlohmann::json& emulate, double latency_s) {
  for (int machine = 0; machine <= count_ + 1; ++machine) {  // the last is the operator's
    const Finished made =
        run({"keygen", "--out", folder_ / ("machine-" + std::to_string(machine)), "--json"});
    REQUIRE(made.status == 0);
    keys_.push_back(nlohmann::json::parse(made.output).at("public_key"));
  }
  const nlohmann::json scheduler = {{"address", host(0) + ":7000"}, {"public_key", keys_[0]}};
  write_text(folder_ / "scheduler.json",
             nlohmann::json{{"bind", host(0) + ":7000"},
                            {"key_file", "machine-0/node.key"},
                            {"data_dir", "machine-0"},
                            {"nodes", std::vector<std::string>(keys_.begin() + 1, keys_.end() - 1)},
                            {"operators", {keys_.back()}}}
                 .dump());
  write_text(folder_ / "operator.json",
             nlohmann::json{{"scheduler", scheduler},
                            {"key_file", "machine-" + std::to_string(count_ + 1) + "/node.key"}}
                 .dump());
  for (int node = 1; node <= count_; ++node) {
    const std::string home = "machine-" + std::to_string(node);
    nlohmann::json config = {{"nickname", "node-" + std::to_string(node)},
                             {"bind", host(node) + ":7001"},
                             {"scheduler", scheduler},
                             {"key_file", home + "/node.key"},
                             {"data_dir", home},
                             {"threads", 1},
                             {"memory_bytes", std::int64_t{1} << 30}};
    if (!emulate.is_null()) {
      config["emulate"] = emulate;
      config["emulate"]["links"] = nlohmann::json::array();
      for (int other = 1; other <= count_; ++other)
        if (other != node)
          config["emulate"]["links"].push_back(
              {{"to", "node-" + std::to_string(other)}, {"latency_s", latency_s}});
    }
    write_text(folder_ / (home + ".json"), config.dump());
  }
  nodes_.resize(static_cast<std::size_t>(count_));
}

void Machines::start_scheduler() {
  scheduler_ = std::make_unique<Process>(
      std::vector<std::string>{"scheduler", "--config", folder_ / "scheduler.json"}, on(0));
  REQUIRE(scheduler_->wait_for("scheduler listens at ", Seconds(20)));
}

void Machines::start_node(int node) {
  nodes_[static_cast<std::size_t>(node - 1)] = std::make_unique<Process>(
      std::vector<std::string>{"daemon", "--config", folder_ / ("machine-" + std::to_string(node) + ".json")},
      on(node));
}

void Machines::start() {
  start_scheduler();
  for (int node = 1; node <= count_; ++node) start_node(node);
  for (int one = 1; one <= count_; ++one) REQUIRE(node(one).wait_for("joined, view", Seconds(30)));
}

int Machines::node_of(const std::string& key) const {
  for (int node = 1; node <= count_; ++node)
    if (keys_[static_cast<std::size_t>(node)] == key) return node;
  FAIL("no node " << key);
  return 0;
}

void Machines::pull_cable(int node) { ip("-n " + name(0) + " link set " + device(node) + " down"); }
void Machines::plug_cable(int node) { ip("-n " + name(0) + " link set " + device(node) + " up"); }

Finished Machines::ask(std::vector<std::string> arguments) const {
  arguments.insert(arguments.end(), {"--config", folder_ / "operator.json"});
  return run(arguments, Seconds(30), on(0));
}

nlohmann::json Machines::ask_json(std::vector<std::string> arguments) const {
  arguments.push_back("--json");
  const Finished finished = ask(std::move(arguments));
  INFO(finished.error << logs());
  REQUIRE(finished.status == 0);
  return nlohmann::json::parse(finished.output);
}

std::unique_ptr<Process> Machines::submit(const nlohmann::json& job) const {
  return std::make_unique<Process>(std::vector<std::string>{"submit", write_job(folder_, job), "--follow",
                                                            "--config", folder_ / "operator.json"},
                                   on(0));
}

std::string Machines::logs() const {
  std::string all;
  for (int machine = 0; machine <= count_; ++machine) {
    const std::string home = folder_ / ("machine-" + std::to_string(machine));
    for (const char* file : {"/scheduler.log", "/daemon.log"})
      if (std::filesystem::exists(home + file)) all += "---- " + home + "\n" + read_text(home + file);
  }
  return all;
}

}  // namespace sidestep::testing

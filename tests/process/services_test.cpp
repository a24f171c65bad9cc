// Scheduler, daemons and commands as processes of their own, from the example files in configs/.
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "tests/process/swarm_fixture.h"
#include "tests/process/two_machines.h"
#include "tests/skip.h"

namespace sidestep::testing {
namespace {

// A listening TCP socket that never answers: a port that is taken, by something else than a scheduler.
class Listener {
 public:
  Listener() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(bind(fd_, reinterpret_cast<sockaddr*>(&any), sizeof any) == 0);
    REQUIRE(listen(fd_, 8) == 0);
    socklen_t size = sizeof any;
    REQUIRE(getsockname(fd_, reinterpret_cast<sockaddr*>(&any), &size) == 0);
    port_ = ntohs(any.sin_port);
  }
  ~Listener() { close(fd_); }
  std::string port() const { return std::to_string(port_); }

 private:
  int fd_;
  int port_ = 0;
};

// Keys and config files as docs/several-machines.md says, from configs/ with other ports and places.
class Installation {
 public:
  std::string keygen(const std::string& name) {
    const Finished made = run({"keygen", "--out", folder_ / ("keys/" + name), "--json"});
    REQUIRE(made.status == 0);
    return nlohmann::json::parse(made.output).at("public_key");
  }

  explicit Installation(int nodes, const std::string& host = "127.0.0.1", const ProcessOptions& where = {}) {
    scheduler_key_ = keygen("scheduler");
    operator_key_ = keygen("operator");
    auto config = read_json(SIDESTEP_SOURCE_DIR "/configs/scheduler.json");
    config["bind"] = host + ":0";
    config["key_file"] = "keys/scheduler/node.key";
    config["data_dir"] = "scheduler";
    config["nodes"] = nlohmann::json::array();
    for (int node = 1; node <= nodes; ++node)
      config["nodes"].push_back(keygen("node-" + std::to_string(node)));
    config["operators"] = {operator_key_};
    write_text(folder_ / "scheduler.json", config.dump(2));
    scheduler_ = std::make_unique<Process>(
        std::vector<std::string>{"scheduler", "--config", folder_ / "scheduler.json"}, where);
    REQUIRE(scheduler_->wait_for("scheduler listens at ", Seconds(20)));
    const std::string said = scheduler_->error() + scheduler_->output();
    const auto begin = said.find("listens at ") + 11;
    address_ = said.substr(begin, said.find(',', begin) - begin);
    write_text(operator_config(), operator_json(address_, scheduler_key_).dump(2));
  }

  nlohmann::json operator_json(const std::string& address, const std::string& key,
                               const std::string& key_file = "keys/operator/node.key") const {
    return {{"scheduler", {{"address", address}, {"public_key", key}}}, {"key_file", key_file}};
  }

  // The config of node `node`, with whatever it is to be different in.
  std::string node_config(int node, const nlohmann::json& changes = {}) const {
    const std::string name = "node-" + std::to_string(node);
    auto config = read_json(SIDESTEP_SOURCE_DIR "/configs/node.json");
    config["nickname"] = name;
    config["bind"] = "127.0.0.1:0";
    config.erase("advertise");
    config["scheduler"] = {{"address", address_}, {"public_key", scheduler_key_}};
    config["key_file"] = "keys/" + name + "/node.key";
    config["data_dir"] = name;
    config["threads"] = 1;
    if (!changes.is_null()) config.merge_patch(changes);
    const std::string path = folder_ / (name + ".json");
    write_text(path, config.dump(2));
    return path;
  }

  std::unique_ptr<Process> start_node(int node, const nlohmann::json& changes = {},
                                      const ProcessOptions& where = {}) {
    return std::make_unique<Process>(
        std::vector<std::string>{"daemon", "--config", node_config(node, changes)}, where);
  }

  const TemporaryFolder& folder() const { return folder_; }
  Process& scheduler() { return *scheduler_; }
  std::string operator_config() const { return folder_ / "operator.json"; }
  const std::string& address() const { return address_; }
  const std::string& scheduler_key() const { return scheduler_key_; }

 private:
  TemporaryFolder folder_;
  std::unique_ptr<Process> scheduler_;
  std::string address_;
  std::string scheduler_key_;
  std::string operator_key_;
};

bool says(const Finished& finished, const std::string& text) {
  return finished.error.find(text) != std::string::npos;
}

void run_small_job(Installation& installation, const ProcessOptions& where = {}) {
  const std::string job = write_job(installation.folder(), small_job(installation.folder(), "apart", 2, 10));
  const Finished done =
      run({"submit", job, "--follow", "--config", installation.operator_config()}, Seconds(60), where);
  INFO(done.output << done.error);
  REQUIRE(done.status == 0);
}

}  // namespace

TEST_CASE("Services: scheduler, daemons and commands run from configs/ on ports of their own") {
  Installation installation(2);
  auto first = installation.start_node(1);
  auto second = installation.start_node(2);
  REQUIRE(first->wait_for("joined", Seconds(20)));
  REQUIRE(second->wait_for("joined", Seconds(20)));
  run_small_job(installation);
  for (Process* process : {first.get(), second.get(), &installation.scheduler()}) process->signal(SIGTERM);
  CHECK(first->wait_exit(Seconds(10)) == 0);
  CHECK(second->wait_exit(Seconds(10)) == 0);
  CHECK(installation.scheduler().wait_exit(Seconds(10)) == 0);
}

TEST_CASE("Services: a second daemon with the same key ends with the reason") {
  Installation installation(1);
  auto first = installation.start_node(1);
  REQUIRE(first->wait_for("joined", Seconds(20)));
  auto second = installation.start_node(1, {{"data_dir", "other"}});
  CHECK(second->wait_exit(Seconds(20)) == 1);
  INFO(second->error());
  CHECK(second->error().find("key") != std::string::npos);
  CHECK(second->error().find("running") != std::string::npos);
  // The first one is not disturbed.
  const Finished nodes = run({"nodes", "--json", "--config", installation.operator_config()});
  REQUIRE(nodes.status == 0);
  CHECK(nlohmann::json::parse(nodes.output).at("nodes")[0].at("state") == "alive");
  first->signal(SIGTERM);
  CHECK(first->wait_exit(Seconds(10)) == 0);
}

TEST_CASE("Services: a daemon that is not admitted, or finds another key, says so and goes on trying") {
  Installation installation(1);
  installation.keygen("node-2");  // not in the scheduler's config
  const auto stranger = installation.start_node(2);
  REQUIRE(stranger->wait_for("does not know our key", Seconds(20)));
  const auto misled =
      installation.start_node(1, {{"scheduler", {{"public_key", installation.keygen("node-3")}}}});
  REQUIRE(misled->wait_for("check scheduler.public_key", Seconds(20)));
  const auto alone = installation.start_node(1, {{"scheduler", {{"address", "127.0.0.1:1"}}}});
  REQUIRE(alone->wait_for("nothing listens at 127.0.0.1:1", Seconds(20)));
  stranger->signal(SIGTERM);
  CHECK(stranger->wait_exit(Seconds(10)) == 0);
}

TEST_CASE("Services: a port in use ends scheduler and daemon with its name") {
  Installation installation(1);
  const Listener listener;
  const auto node = installation.start_node(1, {{"bind", "127.0.0.1:" + listener.port()}});
  CHECK(node->wait_exit(Seconds(20)) == 1);
  CHECK(node->error().find("port " + listener.port() + " is already in use") != std::string::npos);
  auto config = read_json(installation.folder() / "scheduler.json");
  config["bind"] = installation.address();
  config["data_dir"] = "second";
  write_text(installation.folder() / "second.json", config.dump(2));
  const Finished scheduler = run({"scheduler", "--config", installation.folder() / "second.json"});
  CHECK(scheduler.status == 1);
  const std::string port = installation.address().substr(installation.address().rfind(':') + 1);
  CHECK(says(scheduler, "port " + port + " is already in use"));
}

TEST_CASE("Services: a device that is not there ends the daemon with the reason and a cure") {
  Installation installation(1);
  const auto node = installation.start_node(1, {{"device", "cuda:63"}});
  CHECK(node->wait_exit(Seconds(60)) == 1);
  INFO(node->error());
  CHECK(node->error().find("device \"cuda:63\": ") != std::string::npos);
  CHECK(node->error().find(", or set \"device\" to \"cpu\"") != std::string::npos);
}

TEST_CASE("Services: a key file that others may read is refused with the cure") {
  Installation installation(1);
  const std::string key = installation.folder() / "keys/node-1/node.key";
  REQUIRE(chmod(key.c_str(), 0644) == 0);
  const Finished node = run({"daemon", "--config", installation.node_config(1)});
  CHECK(node.status == 1);
  CHECK(says(node, "chmod 600"));
}

TEST_CASE("Commands: each way of not reaching the scheduler has its own words") {
  Installation installation(1);
  const auto ask = [&](const nlohmann::json& config) {
    write_text(installation.folder() / "other.json", config.dump(2));
    return run({"jobs", "--config", installation.folder() / "other.json"});
  };
  const Finished down = ask(installation.operator_json("127.0.0.1:1", installation.scheduler_key()));
  CHECK(down.status == 3);
  CHECK(says(down, "nothing listens at 127.0.0.1:1"));
  const Finished wrong =
      ask(installation.operator_json(installation.address(), installation.keygen("wrong")));
  CHECK(wrong.status == 3);
  CHECK(says(wrong, "check scheduler.public_key"));
  CHECK(says(wrong, installation.address()));
  installation.keygen("unknown");
  const Finished unknown = ask(installation.operator_json(
      installation.address(), installation.scheduler_key(), "keys/unknown/node.key"));
  CHECK(unknown.status == 1);
  CHECK(says(unknown, "does not know our key"));
  const Finished node = ask(installation.operator_json(installation.address(), installation.scheduler_key(),
                                                       "keys/node-1/node.key"));
  CHECK(node.status == 1);
  CHECK(says(node, "operator"));
}

TEST_CASE("Services: they find each other across network namespaces") {
  if (geteuid() != 0) SIDESTEP_SKIP("network namespaces need root");
  const TwoMachines machines(0);
  if (!machines.made()) SIDESTEP_SKIP("this machine does not allow network namespaces");
  const ProcessOptions left = machines.left(), right = machines.right();
  Installation installation(2, machines.left_host(), left);
  auto first = installation.start_node(1, {{"bind", machines.left_host() + ":0"}}, left);
  auto second =
      installation.start_node(2, {{"bind", "0.0.0.0:0"}, {"advertise", machines.right_host() + ":0"}}, right);
  REQUIRE(first->wait_for("joined", Seconds(20)));
  REQUIRE(second->wait_for("joined", Seconds(20)));
  run_small_job(installation, right);
}

}  // namespace sidestep::testing

// Config files: the examples load, and what is wrong in one is said at once.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "daemon/cli/operator_config.h"
#include "daemon/driver/node_config.h"
#include "daemon/driver/scheduler_config.h"

namespace sidestep {
namespace {

const std::string configs = SIDESTEP_SOURCE_DIR "/configs/";

// A file of this test alone, gone at its end.
class File {
 public:
  explicit File(const nlohmann::json& json)
      : path_("/tmp/sidestep-config-test." + std::to_string(getpid()) + "." + std::to_string(++count_) +
              ".json") {
    std::ofstream(path_) << json.dump(2);
  }
  ~File() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  static inline int count_ = 0;
  std::string path_;
};

nlohmann::json json_of(const std::string& path) { return nlohmann::json::parse(std::ifstream(path)); }

std::string problems_of(const nlohmann::json& json) {
  const File file(json);
  const auto config = driver::load_node_config(file.path());
  return config.ok() ? "" : config.status().message();
}

}  // namespace

TEST_CASE("Config: the example of a node loads, its paths lie beside the file") {
  const auto config = driver::load_node_config(configs + "node.json");
  REQUIRE(config.ok());
  CHECK(config.value().nickname == "attic");
  CHECK(config.value().key_file == SIDESTEP_SOURCE_DIR "/keys/node-1/node.key");
  CHECK(config.value().log.file == SIDESTEP_SOURCE_DIR "/run/node-1/daemon.log");
}

TEST_CASE("Config: the example of a scheduler loads") {
  const auto config = driver::load_scheduler_config(configs + "scheduler.json");
  REQUIRE(config.ok());
  CHECK(config.value().nodes.size() == 2);
  CHECK(config.value().silent_dead_ms == 5000);
  CHECK(config.value().log.file == SIDESTEP_SOURCE_DIR "/run/scheduler/scheduler.log");
}

TEST_CASE("Config: the example of an operator loads") {
  const auto config = cli::load_operator_config(configs + "operator.json");
  REQUIRE(config.ok());
  CHECK(config.value().key_file == SIDESTEP_SOURCE_DIR "/keys/operator/node.key");
}

TEST_CASE("Config: a node's problems come all at once, with the nearest key") {
  auto json = json_of(configs + "node.json");
  json["nickname"] = 3;
  json["thread"] = 2;
  json["scheduler"]["public_key"] = "abc";
  json["log"]["files_max"] = 0;
  const std::string problems = problems_of(json);
  CHECK(problems.find("\"nickname\": must be a string") != std::string::npos);
  CHECK(problems.find("unknown key \"thread\"; did you mean \"threads\"?") != std::string::npos);
  CHECK(problems.find("\"scheduler.public_key\"") != std::string::npos);
  CHECK(problems.find("\"log.files_max\": value 0 is too small, at least 1 allowed") != std::string::npos);
}

TEST_CASE("Config: an invite says which scheduler it is, from the file or instead of the one there") {
  const net::Invite invite{"192.0.2.10:7000", net::generate_key_pair().public_key,
                           net::generate_key_pair().secret_key};
  const std::string token = net::invite_token(invite);
  auto json = json_of(configs + "node.json");
  json.erase("scheduler");
  CHECK(problems_of(json).find("missing key \"scheduler.address\"") != std::string::npos);
  CHECK(problems_of(json).find("missing key \"scheduler.public_key\"") != std::string::npos);
  const auto load = [&](const std::string& given) {
    const File file(json);
    const auto config = driver::load_node_config(file.path(), given);
    INFO(config.status().message());
    REQUIRE(config.ok());
    return config.value().scheduler;
  };
  CHECK(load(token).address == "192.0.2.10:7000");
  json["invite"] = token;
  CHECK(load("").public_key == invite.scheduler.hex());
  const net::Invite other{"192.0.2.99:7000", invite.scheduler, invite.secret};
  CHECK(load(net::invite_token(other)).address == "192.0.2.99:7000");
  // What the file says about the way there holds; about the key they must agree.
  json["scheduler"] = {{"address", "10.0.0.1:7000"}};
  CHECK(load("").address == "10.0.0.1:7000");
  json["scheduler"]["public_key"] = net::generate_key_pair().public_key.hex();
  CHECK(problems_of(json).find("the invite is of another scheduler, with key " + invite.scheduler.hex()) !=
        std::string::npos);
  json["invite"] = token.substr(0, token.size() - 1);
  CHECK(problems_of(json).find("\"invite\": the invite is cut short or mistyped") != std::string::npos);
}

TEST_CASE("Config: a scheduler advertises nothing that nobody can connect to") {
  auto json = json_of(configs + "scheduler.json");
  for (const char* address : {"0.0.0.0:7000", "nowhere"}) {
    json["advertise"] = address;
    const File file(json);
    const auto config = driver::load_scheduler_config(file.path());
    REQUIRE(!config.ok());
    CHECK(config.status().message().find("\"advertise\"") != std::string::npos);
  }
}

TEST_CASE("Config: a node that listens everywhere has to say where it is reached") {
  auto json = json_of(configs + "node.json");
  json.erase("advertise");
  CHECK(problems_of(json).find("\"advertise\": is needed") != std::string::npos);
  json["bind"] = "10.0.0.4:7001";
  CHECK(problems_of(json).empty());
}

TEST_CASE("Config: a key that is both node and operator is refused") {
  auto json = json_of(configs + "scheduler.json");
  json["operators"] = nlohmann::json::array({json["nodes"][0]});
  const File file(json);
  const auto config = driver::load_scheduler_config(file.path());
  REQUIRE(!config.ok());
  CHECK(config.status().message().find("listed twice") != std::string::npos);
}

TEST_CASE("Config: an address that nobody can connect to is not advertised") {
  auto json = json_of(configs + "node.json");
  json["advertise"] = "0.0.0.0:7001";
  CHECK(problems_of(json).find("is no address that others can connect to") != std::string::npos);
  json["bind"] = "*:7001";
  json.erase("advertise");
  CHECK(problems_of(json).find("\"advertise\": is needed") != std::string::npos);
  json["bind"] = "nowhere";
  CHECK(problems_of(json).find("\"bind\"") != std::string::npos);
}

TEST_CASE("Config: a cloud's notices are watched for where the config names it") {
  auto json = json_of(configs + "node.json");
  const auto load = [&] {
    const File file(json);
    const auto config = driver::load_node_config(file.path());
    INFO(config.status().message());
    REQUIRE(config.ok());
    return config.value().spot;
  };
  CHECK(!load().is_watched());
  json["spot"] = {{"cloud", "gcp"}};
  CHECK(load().is_watched());
  CHECK(load().endpoint == "169.254.169.254:80");
  json["spot"] = {{"cloud", "none"}};
  CHECK(!load().is_watched());
  json["spot"] = {{"cloud", "attic"}, {"endpoint", "metadata.google.internal:80"}, {"poll_s", 61}};
  const std::string problems = problems_of(json);
  CHECK(problems.find("\"spot.cloud\": value \"attic\" is not known; allowed: \"none\", \"aws\", \"gcp\" and "
                      "\"azure\"") != std::string::npos);
  CHECK(problems.find(
            "\"spot.endpoint\": address \"metadata.google.internal:80\": the host must be a number") !=
        std::string::npos);
  CHECK(problems.find("\"spot.poll_s\": value 61 is too large, at most 60 allowed") != std::string::npos);
}

TEST_CASE("Config: silence is not counted before five heartbeats") {
  auto json = json_of(configs + "scheduler.json");
  json["heartbeat_ms"] = 2000;
  json["silent_dead_ms"] = 5000;
  const File file(json);
  const auto config = driver::load_scheduler_config(file.path());
  REQUIRE(!config.ok());
  CHECK(config.status().message().find("at least 5 times heartbeat_ms (2000)") != std::string::npos);
}

}  // namespace sidestep

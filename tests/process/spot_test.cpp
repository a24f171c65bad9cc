// A node whose cloud takes its machine back, from the notice to the scheduler's log.
#include <catch2/catch.hpp>

#include "tests/process/swarm_fixture.h"
#include "tests/support/metadata_mock.h"

namespace sidestep::testing {
namespace {

// Of a node that comes by an invite, and asks `cloud` every second.
std::string node_config(const LocalSwarm& swarm, const TemporaryFolder& folder, const MetadataMock& cloud) {
  const Finished made = swarm.ask({"invite"});
  INFO(made.error);
  REQUIRE(made.status == 0);
  const nlohmann::json config = {{"nickname", "spot"},
                                 {"bind", "127.0.0.1:0"},
                                 {"invite", made.output.substr(0, made.output.find('\n'))},
                                 {"key_file", "node.key"},
                                 {"data_dir", "spot"},
                                 {"threads", 1},
                                 {"memory_bytes", 1 << 30},
                                 {"spot", {{"cloud", "aws"}, {"endpoint", cloud.address()}, {"poll_s", 1}}}};
  write_text(folder / "spot.json", config.dump(2));
  return folder / "spot.json";
}

}  // namespace

TEST_CASE("Spot: a node leaves on its cloud's notice, and the scheduler knows why") {
  const LocalSwarm swarm(1);
  const TemporaryFolder folder;
  MetadataMock cloud("aws");
  Process spot({"daemon", "--config", node_config(swarm, folder, cloud)});
  REQUIRE(spot.wait_for("joined, view", Seconds(30)));
  REQUIRE(spot.wait_for("AWS's metadata service at " + cloud.address() + " answers", Seconds(10)));
  const auto log = swarm.start({"logs", "-f"});

  cloud.put(aws_rebalance, {200, R"({"noticeTime": "2099-01-01T00:00:00Z"})"});
  REQUIRE(spot.wait_for("warning AWS may soon take this instance back", Seconds(10)));
  cloud.put(aws_action, {200, R"({"action": "terminate", "time": "2099-01-01T00:02:00Z"})"});
  const std::string why = "AWS will terminate this instance at 2099-01-01T00:02:00Z, in ";
  CHECK(spot.wait_exit(Seconds(10)) == 0);
  INFO(spot.error());
  CHECK(spot.error().find("stops: " + why) != std::string::npos);
  const bool told = log->wait_for("stopped on purpose (" + why, Seconds(10));
  INFO(log->output() << swarm.logs());
  CHECK(told);
}

TEST_CASE("Doctor: a cloud's metadata service is asked where the config names it") {
  const LocalSwarm swarm(1);
  const TemporaryFolder folder;
  MetadataMock cloud("aws");
  const std::string config = node_config(swarm, folder, cloud);
  const Finished well = run({"doctor", "--config", config}, Seconds(60));
  INFO(well.output << well.error);
  CHECK(well.status == 0);
  CHECK(well.output.find("ok       spot: AWS's metadata service at " + cloud.address() + " answers") !=
        std::string::npos);
  cloud.put(aws_token, {403, "Forbidden"});
  const Finished away = run({"doctor", "--config", config}, Seconds(60));
  INFO(away.output << away.error);
  CHECK(away.status == 0);
  CHECK(away.output.find(": PUT /latest/api/token: status 403") != std::string::npos);
  CHECK(away.output.find("cure: set spot.cloud to the cloud that this machine is of") != std::string::npos);
}

}  // namespace sidestep::testing

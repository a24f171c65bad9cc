// Nodes and operators that are let in and shut out while a swarm runs, as their users do it.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <filesystem>
#include <sstream>

#include "daemon/driver/doctor.h"
#include "net/clock.h"
#include "net/invite.h"
#include "tests/process/swarm_fixture.h"
#include "tests/process/two_machines.h"
#include "tests/skip.h"

namespace sidestep::testing {
namespace {

namespace fs = std::filesystem;

bool says(const Finished& finished, const std::string& text) {
  return (finished.output + finished.error).find(text) != std::string::npos;
}

std::string invite(const LocalSwarm& swarm, const std::vector<std::string>& flags = {}) {
  std::vector<std::string> arguments{"invite"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  const Finished made = swarm.ask(arguments);
  INFO(made.error);
  REQUIRE(made.status == 0);
  return made.output.substr(0, made.output.find('\n'));
}

// What a machine with nothing but a token has: no key, no address, no key of the scheduler.
std::string spot_config(const TemporaryFolder& folder, const std::string& name,
                        const nlohmann::json& changes = {}) {
  nlohmann::json config = {{"nickname", name}, {"bind", "127.0.0.1:0"}, {"key_file", name + "/node.key"},
                           {"data_dir", name}, {"threads", 1},          {"memory_bytes", 1 << 30}};
  if (!changes.is_null()) config.merge_patch(changes);
  write_text(folder / (name + ".json"), config.dump(2));
  return folder / (name + ".json");
}

ProcessOptions with_token(const std::string& token) { return {{}, {"SIDESTEP_INVITE=" + token}}; }

std::string public_key_in(const std::string& file) { return read_text(file).substr(11, 64); }

// The keys of the nodes that are alive, as the scheduler says.
nlohmann::json state_of(const LocalSwarm& swarm, const std::string& nickname) {
  const nlohmann::json nodes = swarm.ask_json({"nodes"}).at("nodes");
  for (const auto& node : nodes)
    if (node.at("nickname") == nickname) return node.at("state");
  return "gone";
}

// When a log file says this first, in milliseconds of the day.
std::int64_t logged_at_ms(const std::string& file, const std::string& text) {
  const std::string log = read_text(file);
  const std::size_t found = log.find(text);
  INFO(log);
  REQUIRE(found != std::string::npos);
  const std::size_t line = log.rfind('\n', found) + 1;  // "2026-01-31T10:11:12.123 info ..."
  const auto number = [&](std::size_t at, std::size_t digits) {
    return std::stoll(log.substr(line + at, digits));
  };
  return ((number(11, 2) * 60 + number(14, 2)) * 60 + number(17, 2)) * 1'000 + number(20, 3);
}

// Of two moments less than a day apart.
std::int64_t ms_between(std::int64_t begin, std::int64_t end) {
  constexpr std::int64_t day = 24 * 3600 * 1'000;
  return (end - begin + day) % day;
}

const nlohmann::json& finding(const nlohmann::json& report, const std::string& what) {
  for (const auto& entry : report.at("findings"))
    if (entry.at("what") == what) return entry;
  FAIL("no finding about " << what << " in " << report.dump(2));
  return report;
}

nlohmann::json doctor(const std::string& config, int status, const ProcessOptions& options = {}) {
  const Finished done = run({"doctor", "--config", config, "--json"}, Seconds(60), options);
  INFO(done.output << done.error);
  REQUIRE(done.status == status);
  return nlohmann::json::parse(done.output);
}

}  // namespace

TEST_CASE("Joining: a spot node comes with a token alone and is given a stage") {
  LocalSwarm swarm(2);
  TemporaryFolder folder;
  const std::string token = invite(swarm, {"--valid", "1h"});
  const std::string config = spot_config(folder, "spot");
  Process spot({"daemon", "--config", config}, with_token(token));
  REQUIRE(spot.wait_for("joined, view", Seconds(30)));
  // Three stages need three nodes: the third can only be the new one.
  const std::string job = write_job(folder, small_job(folder, "three", 3, 8));
  const Finished done = swarm.ask({"submit", job, "--follow"});
  INFO(done.output << done.error << swarm.logs());
  REQUIRE(done.status == 0);
  const std::string key = public_key_in(folder / "spot/node.key");
  const nlohmann::json status = swarm.ask_json({"status", "three-1"});
  CHECK(status.at("job").at("stages").dump().find(key) != std::string::npos);

  // The instance is taken away; what is started in its place with the same disk needs no other token.
  spot.signal(SIGKILL);
  CHECK(spot.wait_exit(Seconds(10)) == -SIGKILL);
  Process again({"daemon", "--config", config}, with_token(token));
  CHECK(again.wait_for("joined, view", Seconds(30)));
  CHECK(public_key_in(folder / "spot/node.key") == key);
  // With an empty disk it is somebody else, for whom the token is used up.
  const Finished other =
      run({"daemon", "--config", spot_config(folder, "other")}, Seconds(30), with_token(token));
  CHECK(other.status == 1);
  CHECK(says(other, "this invite was used by spot (key " + key.substr(0, 4) + ") on "));
  const Finished listed = swarm.ask({"invite", "--list"});
  CHECK(says(listed, "used"));
}

TEST_CASE("Joining: a token that is mistyped, withdrawn or another scheduler's is refused with the reason") {
  LocalSwarm swarm(1);
  TemporaryFolder folder;
  const std::string config = spot_config(folder, "spot");
  std::string token = invite(swarm);
  std::string typed = token;
  typed[30] = typed[30] == 'x' ? 'y' : 'x';
  const Finished mistyped = run({"daemon", "--config", config}, Seconds(30), with_token(typed));
  CHECK(mistyped.status == 1);
  CHECK(says(mistyped, "\"invite\": the invite is cut short or mistyped"));
  const std::string id = swarm.ask_json({"invite", "--list"}).at("invites")[0].at("key").get<std::string>();
  REQUIRE(swarm.ask({"revoke", id.substr(0, 8)}).status == 0);
  const Finished withdrawn = run({"daemon", "--config", config}, Seconds(30), with_token(token));
  CHECK(withdrawn.status == 1);
  CHECK(says(withdrawn, "this invite was withdrawn on "));

  const auto key = [](const nlohmann::json& block) {
    return net::NodeKey::from_hex(block.at("public_key").get<std::string>()).value();
  };
  const nlohmann::json scheduler = read_json(swarm.operator_config()).at("scheduler");
  const std::string address = scheduler.at("address");
  const net::KeyPair other = net::generate_key_pair();
  // Of a scheduler with another key, which was at this one's address.
  const Finished elsewhere =
      run({"daemon", "--config", spot_config(folder, "named", {{"scheduler", scheduler}})}, Seconds(30),
          with_token(net::invite_token({address, other.public_key, other.secret_key})));
  CHECK(elsewhere.status == 1);
  CHECK(says(elsewhere, "the invite is of another scheduler, with key " + other.public_key.hex()));
  // Of one with the same key and another database.
  const Finished unknown = run({"daemon", "--config", config}, Seconds(30),
                               with_token(net::invite_token({address, key(scheduler), other.secret_key})));
  CHECK(unknown.status == 1);
  CHECK(says(unknown, "does not know this invite: it was made by another scheduler, or ended long ago"));
}

TEST_CASE("Joining: a revoked node is out of the view within a second, says why and ends") {
  LocalSwarm swarm(2);
  TemporaryFolder folder;
  const std::string config = spot_config(folder, "spot", {{"invite", invite(swarm)}});
  Process spot({"daemon", "--config", config});
  REQUIRE(spot.wait_for("joined, view", Seconds(30)));
  REQUIRE(state_of(swarm, "spot") == "alive");
  const std::string key = public_key_in(folder / "spot/node.key");

  REQUIRE(swarm.ask({"revoke", key}).status == 0);
  CHECK(state_of(swarm, "spot") == "gone");
  CHECK(spot.wait_exit(Seconds(10)) == 1);
  CHECK(spot.error().find("was revoked by an operator on ") != std::string::npos);
  // From the scheduler's decision to the view without it, and to the node's last word, by the clock of their
  // logs.
  const std::string scheduler_log = swarm.dir() + "/logs/scheduler.log";
  const std::int64_t decided_ms = logged_at_ms(scheduler_log, "revoked node spot");
  CHECK(ms_between(decided_ms, logged_at_ms(scheduler_log, "its key was revoked by an operator; view ")) <
        1'000);
  CHECK(ms_between(decided_ms, logged_at_ms(folder / "spot/daemon.log", "the scheduler refuses this node")) <
        1'000);
  // Neither its key nor its used-up token brings it back; an operator does.
  const Finished again = run({"daemon", "--config", config});
  CHECK(again.status == 1);
  CHECK(says(again, "key " + key + " was revoked on "));
  REQUIRE(swarm.ask({"admit", key}).status == 0);
  Process back({"daemon", "--config", config});
  CHECK(back.wait_for("joined, view", Seconds(30)));
}

TEST_CASE("Joining: an operator comes by an invite, and asks no more once revoked") {
  LocalSwarm swarm(1);
  TemporaryFolder folder;
  const nlohmann::json config = {{"invite", invite(swarm, {"--as", "operator"})}, {"key_file", "mine.key"}};
  write_text(folder / "operator.json", config.dump());
  const std::vector<std::string> ask{"nodes", "--json", "--config", folder / "operator.json"};
  const Finished first = run(ask);
  INFO(first.error);
  REQUIRE(first.status == 0);
  CHECK(nlohmann::json::parse(first.output).at("nodes").size() == 1);
  CHECK(run(ask).status == 0);  // by its key now

  Process follower({"logs", "-f", "--config", folder / "operator.json"});
  REQUIRE(follower.wait_for("joined", Seconds(20)));
  REQUIRE(swarm.ask({"revoke", public_key_in(folder / "mine.key")}).status == 0);
  CHECK(follower.wait_exit(Seconds(15)) == 1);
  CHECK(follower.error().find("was revoked by an operator") != std::string::npos);
  CHECK(run(ask).status == 1);
}

TEST_CASE("Joining: who was let in and shut out is known after the scheduler's restart") {
  LocalSwarm swarm(2);
  TemporaryFolder folder;
  const std::string used = invite(swarm);
  const std::string open = invite(swarm);
  Process spot({"daemon", "--config", spot_config(folder, "spot")}, with_token(used));
  REQUIRE(spot.wait_for("joined, view", Seconds(30)));
  const std::string node_1 = public_key_in(swarm.dir() + "/node-1/node.key");
  REQUIRE(swarm.ask({"revoke", node_1}).status == 0);

  REQUIRE(kill(swarm.scheduler_pid(), SIGKILL) == 0);
  nlohmann::json config = read_json(swarm.scheduler_config());
  config["log"]["standard_error"] = true;
  write_text(swarm.scheduler_config(), config.dump());
  Process scheduler({"scheduler", "--config", swarm.dir() + "/scheduler/scheduler.json"});
  REQUIRE(spot.wait_for("the scheduler has restarted, term 2", Seconds(30)));
  Process second({"daemon", "--config", spot_config(folder, "second")}, with_token(open));
  REQUIRE(second.wait_for("joined, view", Seconds(30)));
  CHECK(state_of(swarm, "spot") == "alive");
  const nlohmann::json admitted = swarm.ask_json({"admit"}).at("admitted");
  CHECK(std::count_if(admitted.begin(), admitted.end(), [&](const nlohmann::json& entry) {
          return entry.at("key") == node_1 && entry.at("revoked") == true;
        }) == 1);
  Process shut_out({"daemon", "--config", swarm.dir() + "/node-1/node.json"});
  CHECK(scheduler.wait_for("with unknown key " + node_1, Seconds(20)));
  CHECK(state_of(swarm, "node-1") == "gone");
}

// The `run` section of deploy/skypilot.yaml, as the instance's shell gets it.
std::string skypilot_run() {
  const std::string text = read_text(SIDESTEP_SOURCE_DIR "/deploy/skypilot.yaml");
  const std::string mark = "\nrun: |\n";
  const std::size_t begin = text.find(mark);
  REQUIRE(begin != std::string::npos);
  std::istringstream lines(text.substr(begin + mark.size()));
  std::string script;
  for (std::string line; std::getline(lines, line);) {
    REQUIRE((line.empty() || line.starts_with("  ")));
    script += line.substr(std::min<std::size_t>(2, line.size())) + "\n";
  }
  return script;
}

TEST_CASE("Joining: the SkyPilot task's own script brings a node in from another network") {
  if (geteuid() != 0) SIDESTEP_SKIP("network namespaces need root");
  const TwoMachines machines(1);
  if (!machines.made()) SIDESTEP_SKIP("this machine does not allow network namespaces");
  const ProcessOptions home = machines.left();
  TemporaryFolder folder;
  for (const char* name : {"scheduler", "operator"})
    REQUIRE(run({"keygen", "--out", folder / name}).status == 0);
  write_text(folder / "scheduler.json",
             nlohmann::json{{"bind", "0.0.0.0:7000"},
                            {"advertise", machines.left_host() + ":7000"},
                            {"key_file", "scheduler/node.key"},
                            {"data_dir", "scheduler"},
                            {"operators", {public_key_in(folder / "operator/node.key")}}}
                 .dump());
  write_text(folder / "operator.json",
             nlohmann::json{{"scheduler",
                             {{"address", "127.0.0.1:7000"},
                              {"public_key", public_key_in(folder / "scheduler/node.key")}}},
                            {"key_file", "operator/node.key"}}
                 .dump());
  Process scheduler({"scheduler", "--config", folder / "scheduler.json"}, home);
  REQUIRE(scheduler.wait_for("scheduler listens at ", Seconds(20)));
  const auto token = [&] {
    const Finished made = run({"invite", "--config", folder / "operator.json"}, Seconds(20), home);
    INFO(made.error);
    REQUIRE(made.status == 0);
    return made.output.substr(0, made.output.find('\n'));
  };
  std::vector<std::unique_ptr<Process>> nodes;
  for (const char* name : {"first", "second"}) {
    const nlohmann::json places = {{"invite", token()}, {"bind", machines.left_host() + ":0"}};
    nodes.push_back(std::make_unique<Process>(
        std::vector<std::string>{"daemon", "--config", spot_config(folder, name, places)}, home));
    REQUIRE(nodes.back()->wait_for("joined, view", Seconds(30)));
  }

  // The instance: nothing there but the bundle and what SkyPilot sets.
  fs::create_directories(folder / "instance/sidestep/bin");
  fs::create_symlink(SIDESTEP_PROGRAM, folder / "instance/sidestep/bin/sidestep");
  ProcessOptions instance = machines.right();
  instance.prefix.insert(instance.prefix.end(), {"bash", "-c", skypilot_run()});
  instance.environment = {"HOME=" + (folder / "instance"),
                          "SIDESTEP_INVITE=" + token(),
                          "SIDESTEP_NODE_KEY=",
                          "SIDESTEP_NICKNAME=spot",
                          "SIDESTEP_ADVERTISE=",
                          "SIDESTEP_CLOUD=",
                          "SKYPILOT_NODE_IPS=" + machines.right_host()};
  Process spot({}, instance);
  const bool joined = spot.wait_for("joined, view", Seconds(60));
  INFO(spot.output() << spot.error());
  REQUIRE(joined);
  // It has looked at its ways first, both directions between the two networks.
  CHECK(spot.output().find("reaches us at " + machines.right_host() + ":7001") != std::string::npos);
  CHECK(spot.output().find("failed ") == std::string::npos);

  const std::string job = write_job(folder, small_job(folder, "three", 3, 8));
  const Finished done =
      run({"submit", job, "--follow", "--config", folder / "operator.json"}, Seconds(90), home);
  INFO(done.output << done.error);
  REQUIRE(done.status == 0);
  const Finished status =
      run({"status", "three-1", "--json", "--config", folder / "operator.json"}, Seconds(20), home);
  const std::string key = public_key_in(folder / "instance/sidestep-node/node.key");
  CHECK(nlohmann::json::parse(status.output).at("job").at("stages").dump().find(key) != std::string::npos);
}

TEST_CASE("Joining: a swarm that starts complains about nobody") {
  LocalSwarm swarm(4);
  CHECK(swarm.logs().find("unknown key") == std::string::npos);
}

// ---- doctor

TEST_CASE("Doctor: with an invite, all is well, and the invite stays open") {
  LocalSwarm swarm(2);
  TemporaryFolder folder;
  const std::string token = invite(swarm);
  const std::string config = spot_config(folder, "spot");
  const nlohmann::json report = doctor(config, 0, with_token(token));
  CHECK(report.at("ok") == true);
  CHECK(finding(report, "admission").at("text") == "the invite is good, and still to be used");
  CHECK(finding(report, "clock").at("verdict") == "ok");
  for (const char* node : {"node node-1", "node node-2"}) {
    const std::string text = finding(report, node).at("text");
    CHECK(text.find("reaches us at 127.0.0.1:") != std::string::npos);
    CHECK(text.find("MB/s to it") != std::string::npos);
  }
  CHECK(swarm.ask_json({"invite", "--list"}).at("invites")[0].at("state") == "open");
  Process spot({"daemon", "--config", config}, with_token(token));
  REQUIRE(spot.wait_for("joined, view", Seconds(30)));
  // A daemon that runs is no port in use.
  const nlohmann::json running = doctor(config, 0, with_token(token));
  CHECK(finding(running, "daemon").at("verdict") == "ok");
  CHECK(finding(running, "admission").at("text").get<std::string>().find("is admitted as a node") !=
        std::string::npos);
}

TEST_CASE("Doctor: a clock an hour off is named with the amount") {
  LocalSwarm swarm(1);
  TemporaryFolder folder;
  const auto config = driver::load_node_config(spot_config(folder, "spot", {{"invite", invite(swarm)}}));
  REQUIRE(config.ok());
  for (const auto& [off_s, text] : {std::pair{3'600, "this clock is 3600.0 s ahead of the scheduler's"},
                                    {-3'600, "this clock is 3600.0 s behind the scheduler's"}}) {
    driver::DoctorOptions options{config.value(), {}, [] { return false; }, {}};
    std::vector<driver::Finding> clocks;
    options.found = [&](const driver::Finding& one) {
      if (one.what == "clock") clocks.push_back(one);
    };
    options.wall_us = [&, off = off_s] { return net::wall_us() + off * net::second; };
    REQUIRE(driver::examine(options));
    REQUIRE(clocks.size() == 1);
    CHECK(clocks[0].verdict == driver::Verdict::warning);
    CHECK(clocks[0].text.starts_with(text));
  }
}

TEST_CASE("Doctor: what is wrong is named with its cure") {
  LocalSwarm swarm(1);
  TemporaryFolder folder;
  const nlohmann::json scheduler = read_json(swarm.dir() + "/node-1/node.json").at("scheduler");
  REQUIRE(run({"keygen", "--out", folder / "spot"}).status == 0);
  const std::string key = public_key_in(folder / "spot/node.key");

  const nlohmann::json stranger = doctor(spot_config(folder, "spot", {{"scheduler", scheduler}}), 1);
  CHECK(finding(stranger, "scheduler").at("verdict") == "ok");
  CHECK(finding(stranger, "admission").at("cure") == "ask an operator to run: sidestep admit " + key);

  REQUIRE(swarm.ask({"admit", key}).status == 0);
  // An address from which nothing comes here.
  const nlohmann::json hidden = doctor(
      spot_config(folder, "spot",
                  {{"scheduler", scheduler}, {"advertise", "127.0.0.1:1"}, {"memory_bytes", 1LL << 49}}),
      1);
  const nlohmann::json& node = finding(hidden, "node node-1");
  CHECK(node.at("verdict") == "failed");
  CHECK(node.at("text").get<std::string>().find("it cannot reach us at 127.0.0.1:1") != std::string::npos);
  CHECK(node.at("cure").get<std::string>().find("open or forward 127.0.0.1:1 to ") == 0);
  CHECK(finding(hidden, "memory").at("verdict") == "failed");

  // A GPU that no machine has: its memory is not compared with the host's.
  const nlohmann::json gpu =
      doctor(spot_config(folder, "spot",
                         {{"scheduler", scheduler}, {"device", "cuda:63"}, {"memory_bytes", 1LL << 49}}),
             1);
  CHECK(finding(gpu, "device").at("verdict") == "failed");
  CHECK(finding(gpu, "device").at("text").get<std::string>().starts_with("device \"cuda:63\": "));
  const std::string cure = finding(gpu, "device").at("cure");
  CHECK(cure.ends_with("or set \"device\" to \"cpu\""));
  CHECK(gpu.at("findings").dump().find("\"memory\"") == std::string::npos);
  CHECK(finding(hidden, "device").at("text").get<std::string>().starts_with("cpu is cpu-"));

  // The port of another program.
  const std::string taken = scheduler.at("address");
  const nlohmann::json busy =
      doctor(spot_config(folder, "spot", {{"scheduler", scheduler}, {"bind", taken}}), 1);
  CHECK(finding(busy, "port").at("verdict") == "failed");
  CHECK(finding(busy, "port").at("text").get<std::string>().find("is already in use") != std::string::npos);

  const nlohmann::json away = doctor(
      spot_config(folder, "spot", {{"scheduler", {{"address", "127.0.0.1:1"}, {"public_key", key}}}}), 3);
  CHECK(finding(away, "scheduler").at("text") == "nothing listens at 127.0.0.1:1");
  const nlohmann::json wrong =
      doctor(spot_config(folder, "spot",
                         {{"scheduler", {{"address", scheduler.at("address")}, {"public_key", key}}}}),
             3);
  CHECK(finding(wrong, "scheduler").at("cure") ==
        "check scheduler.address and scheduler.public_key in the config");

  REQUIRE(run({"doctor", "--config", folder / "nowhere.json"}).status == 1);
  REQUIRE(run({"doctor"}).status == 2);
}

}  // namespace sidestep::testing

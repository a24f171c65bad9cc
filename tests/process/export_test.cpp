// `sidestep export` on a local swarm.
#include <signal.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <set>

#include "daemon/data/hf_folder.h"
#include "tests/process/swarm_fixture.h"

namespace sidestep::testing {
namespace {

namespace fs = std::filesystem;

Finished export_to(const LocalSwarm& swarm, const std::string& job, const std::string& folder,
                   std::vector<std::string> flags = {}) {
  std::vector<std::string> arguments{"export", job, "--out", folder};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  return swarm.ask(arguments);
}

nlohmann::json report_of(const Finished& finished) {
  INFO(finished.output << finished.error);
  REQUIRE(finished.status == 0);
  return nlohmann::json::parse(finished.output);
}

// Nothing but what was there: no folder of a failed export.
std::set<std::string> names_in(const std::string& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename().string());
  return names;
}

}  // namespace

TEST_CASE("Export: of a running job, of its end, after daemons restart, and what is away is named") {
  LocalSwarm swarm(3);
  nlohmann::json job = small_job(swarm.folder(), "small", 3, 1'500);
  job["recovery"]["origins"] = 1;  // each stage is saved once
  const auto submit = swarm.submit(job);
  REQUIRE(submit->wait_for("step ", Seconds(60)));
  const std::string folder = swarm.folder() / "exports";
  const std::string out = folder + "/model";
  const int leaver = swarm.holder_of(1), damaged_node = swarm.holder_of(2);
  const nlohmann::json first = report_of(export_to(swarm, "small-1", out, {"--json"}));
  CHECK(first.at("state") == "running");
  CHECK(first.at("commit").get<int>() > 0);
  CHECK(first.at("commit").get<int>() < 1'500);
  {
    const auto model = daemon::HfFolder::open(out);
    INFO(model.status().message());
    REQUIRE(model.ok());
    CHECK(model.value().model().hidden_size == 32);
    std::int64_t parameters = 0;
    for (const std::string& name : model.value().names()) {
      const auto tensor = model.value().tensor(name);  // its digest is compared
      REQUIRE(tensor.ok());
      parameters += tensor.value().info.elements();
    }
    CHECK(first.at("parameters") == parameters);
    CHECK(first.at("bytes").get<std::int64_t>() > 4 * parameters);
  }
  const auto status = submit->wait_exit(Seconds(300));
  INFO(submit->output() << submit->error() << swarm.logs());
  REQUIRE(status == 0);

  const nlohmann::json last = report_of(export_to(swarm, "small-1", out, {"--json"}));
  CHECK(last.at("state") == "done");
  CHECK(last.at("step") == 1'500);
  const auto trained = daemon::HfFolder::open(out);
  REQUIRE(trained.ok());
  CHECK(names_in(folder) == std::set<std::string>{"model"});

  // Half the bytes.
  const nlohmann::json half =
      report_of(export_to(swarm, "small-1", folder + "/half", {"--json", "--precision", "bfloat16"}));
  CHECK(half.at("parameters") == last.at("parameters"));
  CHECK(half.at("bytes").get<double>() < 0.6 * last.at("bytes").get<double>());

  // A daemon that is away takes its stage with it, and brings it back.
  const std::string name = "node-" + std::to_string(leaver);
  kill(swarm.node_pid(leaver), SIGTERM);
  REQUIRE(swarm.up().wait_for(name + " (pid", Seconds(10)));
  const Finished away = export_to(swarm, "small-1", folder + "/away");
  CHECK(away.status == 1);
  INFO(away.error);
  CHECK(away.error.find("was saved by " + name + " (") != std::string::npos);
  CHECK_FALSE(fs::exists(folder + "/away"));
  // Unless it may be made out of its neighbours.
  const nlohmann::json made =
      report_of(export_to(swarm, "small-1", folder + "/made", {"--json", "--rebuild"}));
  REQUIRE(made.at("rebuilt").size() == 1);
  CHECK(made.at("rebuilt")[0].at("stage") == 1);
  CHECK(made.at("rebuilt")[0].at("sources").size() == 2);
  CHECK(daemon::HfFolder::open(folder + "/made").value().digest() != trained.value().digest());
  Process again({"daemon", "--config", swarm.dir() + "/" + name + "/node.json"});
  const auto back = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  Finished returned = export_to(swarm, "small-1", folder + "/back", {"--json"});
  while (returned.status != 0 && std::chrono::steady_clock::now() < back)
    returned = export_to(swarm, "small-1", folder + "/back", {"--json"});
  CHECK(report_of(returned).at("commit") == last.at("commit"));
  const auto same = daemon::HfFolder::open(folder + "/back");
  REQUIRE(same.ok());
  CHECK(same.value().digest() == trained.value().digest());

  // A damaged snapshot is noticed, its node and stage named, and what was exported before stays.
  const std::string snapshots = swarm.dir() + "/node-" + std::to_string(damaged_node) +
                                "/data/snapshots/small-1/" + std::to_string(last.at("commit").get<int>());
  REQUIRE(fs::exists(snapshots));
  for (const auto& entry : fs::directory_iterator(snapshots)) {
    std::string bytes = read_text(entry.path().string());
    bytes.back() = static_cast<char>(bytes.back() ^ 1);
    write_text(entry.path().string(), bytes);
  }
  const Finished damaged = export_to(swarm, "small-1", out);
  CHECK(damaged.status == 1);
  INFO(damaged.error);
  CHECK(damaged.error.find("node-" + std::to_string(damaged_node)) != std::string::npos);
  CHECK(damaged.error.find("is damaged") != std::string::npos);
  CHECK(daemon::HfFolder::open(out).value().digest() == trained.value().digest());
  CHECK(names_in(folder) == std::set<std::string>{"model", "half", "made", "back"});
}

TEST_CASE("Export: its losses are solo's, its reasons are told, and a folder that is no export stays") {
  LocalSwarm swarm(3);
  nlohmann::json job = small_job(swarm.folder(), "exact", 3, 12);
  job["deterministic"] = true;
  const auto submit = swarm.submit(job);
  const auto status = submit->wait_exit(Seconds(90));
  INFO(submit->output() << submit->error() << swarm.logs());
  REQUIRE(status == 0);
  const std::string out = swarm.folder() / "model";
  CHECK(report_of(export_to(swarm, "exact-1", out, {"--json"})).at("step") == 12);

  const Finished unknown = export_to(swarm, "exect-1", out);
  CHECK(unknown.status == 1);
  CHECK(unknown.error.find("known: exact-1") != std::string::npos);
  CHECK(export_to(swarm, "exact-1", out, {"--precision", "float16"}).status == 2);
  const std::string mine = swarm.folder() / "mine";
  fs::create_directories(mine);
  write_text(mine + "/letter.txt", "dear");
  const Finished refused = export_to(swarm, "exact-1", mine);
  CHECK(refused.status == 1);
  CHECK(refused.error.find("letter.txt") != std::string::npos);
  CHECK(read_text(mine + "/letter.txt") == "dear");

  // A full disk, played by a limit on a file's size: the older export stays whole.
  const std::string before = daemon::HfFolder::open(out).value().digest();
  const Finished full = run({"export", "exact-1", "--out", out, "--config", swarm.operator_config()},
                            Seconds(30), {.prefix = {"prlimit", "--fsize=20000"}});
  INFO(full.output << full.error);
  CHECK(full.status == 1);
  CHECK(full.error.find("cannot be written") != std::string::npos);
  CHECK(daemon::HfFolder::open(out).value().digest() == before);
}

TEST_CASE("Numbers that are not finite: the job fails, and its last good state is exported") {
  LocalSwarm swarm(2);
  nlohmann::json job = small_job(swarm.folder(), "hot", 2, 400);
  job["deterministic"] = true;
  // Each update multiplies the weights by about -989.
  job["optimizer"] = {
      {"learning_rate", 99.0}, {"weight_decay", 10}, {"schedule", "constant"}, {"non_finite_max", 3}};
  const auto submit = swarm.submit(job);
  const auto status = submit->wait_exit(Seconds(120));
  INFO(submit->output() << submit->error());
  REQUIRE(status == 1);
  CHECK(submit->output().find("made no update (optimizer.non_finite_max is 3)") != std::string::npos);
  CHECK(submit->output().find("sidestep export hot-1") != std::string::npos);
  CHECK(swarm.ask_json({"status", "hot-1"}).at("job").at("skipped_updates").get<int>() >= 3);
  const std::string record = swarm.record_file("hot-1");
  CHECK(report_of(export_to(swarm, "hot-1", swarm.folder() / "hot", {"--json"})).at("state") == "failed");
  replay_of(record);
}

}  // namespace sidestep::testing

#include "tests/process/swarm_fixture.h"

#include <stdlib.h>

#include <array>
#include <catch2/catch.hpp>
#include <fstream>
#include <iterator>
#include <sstream>

#include "net/random.h"

namespace sidestep::testing {

namespace fs = std::filesystem;

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (fs::temp_directory_path() / "sidestep-test.XXXXXX").string();
  REQUIRE(mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void write_text(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::trunc | std::ios::binary);
  file << text;
  REQUIRE(file.flush().good());
}

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

nlohmann::json read_json(const std::string& path) { return nlohmann::json::parse(read_text(path)); }

std::vector<nlohmann::json> json_lines(const std::string& text) {
  std::vector<nlohmann::json> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

nlohmann::json small_job(const TemporaryFolder& folder, const std::string& name, int stages, int steps) {
  const std::string text_file = folder / "text.txt";
  if (!fs::exists(text_file)) {
    static constexpr std::array<const char*, 8> words{"river ", "stone ", "light ", "the ",
                                                      "of ",    "and ",   "runs ",  "over "};
    net::Random random(7);
    std::string text;
    while (text.size() < 40'000) text += words[random.next() % words.size()];
    write_text(text_file, text);
  }
  return {
      {"name", name},
      {"steps", steps},
      {"seed", 3},
      {"model",
       {{"hidden_size", 32},
        {"intermediate_size", 64},
        {"num_hidden_layers", 6},
        {"num_attention_heads", 2}}},
      {"pipeline", {{"stages", stages}, {"microbatches_per_step", 4}, {"microbatch_size", 2}, {"slots", 2}}},
      {"data", {{"path", text_file}, {"sequence_length", 32}}},
      {"optimizer", {{"learning_rate", 5e-3}, {"warmup_steps", 2}}},
      {"validation", {{"every", 10}, {"microbatches", 2}}}};
}

std::string write_job(const TemporaryFolder& folder, const nlohmann::json& job) {
  const std::string path = folder / (job.at("name").get<std::string>() + ".json");
  write_text(path, job.dump(2));
  return path;
}

nlohmann::json replay_of(const std::string& record) {
  const Finished replay = run({"solo", "--replay", record, "--json"}, Seconds(120));
  INFO(replay.output << replay.error);
  REQUIRE(replay.status == 0);
  return json_lines(replay.output).back();
}

LocalSwarm::LocalSwarm(int nodes, const std::vector<std::string>& flags) {
  std::vector<std::string> arguments{"up",        "--nodes", std::to_string(nodes), "--dir", dir(),
                                     "--threads", "1"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  up_ = std::make_unique<Process>(arguments);
  const bool ready = up_->wait_for("ready:", Seconds(40));
  INFO(up_->output() << up_->error() << logs());
  REQUIRE(ready);
}

pid_t LocalSwarm::scheduler_pid() const { return read_json(dir() + "/ready").at("scheduler").at("pid"); }

pid_t LocalSwarm::node_pid(int node) const {
  const nlohmann::json ready = read_json(dir() + "/ready");
  for (const auto& entry : ready.at("nodes"))
    if (entry.at("nickname") == "node-" + std::to_string(node)) return entry.at("pid");
  FAIL("no node " << node);
  return -1;
}

int LocalSwarm::holder_of(std::size_t stage) const {
  const nlohmann::json stages = ask_json({"status"}).at("job").at("stages");
  REQUIRE(stages.at(stage).size() == 1);
  const nlohmann::json listed = ask_json({"nodes"}).at("nodes");
  for (const auto& node : listed)
    if (node.at("key") == stages.at(stage).at(0))
      return std::stoi(node.at("nickname").get<std::string>().substr(std::string("node-").size()));
  FAIL("nobody holds stage " << stage);
  return 0;
}

std::string LocalSwarm::logs() const {
  std::string all;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(dir() + "/logs", none))
    all += "---- " + entry.path().filename().string() + "\n" + read_text(entry.path().string());
  return all;
}

Finished LocalSwarm::ask(std::vector<std::string> arguments) const {
  arguments.insert(arguments.end(), {"--config", operator_config()});
  return run(arguments);
}

nlohmann::json LocalSwarm::ask_json(std::vector<std::string> arguments) const {
  arguments.push_back("--json");
  const Finished finished = ask(arguments);
  INFO(finished.error << logs());
  REQUIRE(finished.status == 0);
  return nlohmann::json::parse(finished.output);
}

std::unique_ptr<Process> LocalSwarm::start(std::vector<std::string> arguments) const {
  arguments.insert(arguments.end(), {"--config", operator_config()});
  return std::make_unique<Process>(arguments);
}

std::unique_ptr<Process> LocalSwarm::submit(const nlohmann::json& job) const {
  return start({"submit", write_job(folder_, job), "--follow"});
}

std::string LocalSwarm::record_file(const std::string& job) const {
  const std::string path = folder_ / (job + ".record");
  REQUIRE(ask({"record", job, "--out", path}).status == 0);
  return path;
}

}  // namespace sidestep::testing

// What a user is told about files that are cut short, damaged or of another version: one row a message.
#include <catch2/catch.hpp>
#include <filesystem>
#include <functional>

#include "net/keys.h"
#include "scheduler/sqlite.h"
#include "tests/process/model_fixture.h"
#include "tests/process/swarm_fixture.h"

namespace sidestep::testing {
namespace {

namespace fs = std::filesystem;

struct Row {
  std::string name;
  // Makes the bad input; gives the command line.
  std::function<std::vector<std::string>(const TemporaryFolder&)> arrange;
  std::string message;  // a part of it, with FOLDER for the folder
};

void cut_in_half(const std::string& path) { fs::resize_file(path, fs::file_size(path) / 2); }

void flip_last_byte(const std::string& path) {
  std::string bytes = read_text(path);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_text(path, bytes);
}

std::string text_file(const TemporaryFolder& folder, const std::string& name = "text.txt") {
  const std::string path = folder / name;
  write_text(path, std::string(5'000, 'a'));
  return path;
}

// 1,000 tokens of uint16 with notes that say so.
std::string token_file(const TemporaryFolder& folder) {
  const std::string path = folder / "tokens.bin";
  write_text(path, std::string(2'000, '\0'));
  write_text(path + ".json",
             R"({"tokenizer": "t", "vocab_size": 9, "token_type": "uint16", "tokens": 1000,)"
             R"( "digest": "sha256:0000000000000000000000000000000000000000000000000000000000000000"})");
  return path;
}

std::vector<std::string> generate(const std::string& model) {
  return {"generate", "--model", model, "--max-tokens", "2"};
}

std::vector<std::string> solo(const TemporaryFolder& folder, const nlohmann::json& changes) {
  nlohmann::json job = small_job(folder, "bad", 1, 5);
  job.merge_patch(changes);
  return {"solo", write_job(folder, job)};
}

std::string scheduler_config(const TemporaryFolder& folder) {
  REQUIRE(net::write_key_file(folder / "key", net::generate_key_pair()).ok());
  const nlohmann::json config{{"bind", "127.0.0.1:0"},
                              {"key_file", folder / "key"},
                              {"data_dir", folder / "data"},
                              {"operators", {std::string(64, '1')}}};
  write_text(folder / "scheduler.json", config.dump());
  return folder / "scheduler.json";
}

const std::vector<Row> rows{
    {"weights cut short",
     [](const auto& folder) {
       const std::string model = write_model(folder);
       cut_in_half(model + "/model.safetensors");
       return generate(model);
     },
     "FOLDER/model/model.safetensors: "},
    {"weights with a flipped bit",
     [](const auto& folder) {
       const std::string model = write_model(folder);
       flip_last_byte(model + "/model.safetensors");
       return generate(model);
     },
     "is damaged"},
    {"weights of another model",
     [](const auto& folder) {
       return solo(folder, {{"init_from", write_model(folder)}});
     },
     "job key \"model.hidden_size\": value "},
    {"no weights where the job begins",
     [](const auto& folder) {
       return solo(folder, {{"init_from", folder / "nowhere"}});
     },
     "FOLDER/nowhere: is not a folder"},
    {"a token file that is not what its notes say",
     [](const auto& folder) {
       return std::vector<std::string>{"data", "check", token_file(folder)};
     },
     "FOLDER/tokens.bin: is cut short or changed since it was made"},
    {"a token file of half a token",
     [](const auto& folder) {
       write_text(folder / "odd.bin", "abc");
       return std::vector<std::string>{"data", "check", folder / "odd.bin"};
     },
     "FOLDER/odd.bin: 3 bytes are not a whole number of uint16 tokens"},
    {"a tokenizer that is none",
     [](const auto& folder) {
       write_text(folder / "t.model", "not a model");
       return std::vector<std::string>{"data", "check", text_file(folder), "--tokenizer", folder / "t.model"};
     },
     "FOLDER/t.model: is not a SentencePiece model"},
    {"a line of .jsonl that is no JSON",
     [](const auto& folder) {
       write_text(folder / "t.jsonl", "{\"text\": \"a\"}\n{\"text\": \n");
       return std::vector<std::string>{"data", "check", folder / "t.jsonl"};
     },
     "FOLDER/t.jsonl:2: not JSON at column "},
    {"a compressed file cut short",
     [](const auto& folder) {
       write_text(folder / "t.txt.zst", "\x28\xb5\x2f\xfd\x24");
       return std::vector<std::string>{"data", "check", folder / "t.txt.zst"};
     },
     "FOLDER/t.txt.zst: is cut short"},
    {"data of another digest than the job's",
     [](const auto& folder) {
       return solo(folder, {{"data", {{"digest", "sha256:" + std::string(64, '0')}}}});
     },
     ", the job wants sha256:0000"},
    {"a scheduler's folder of another version",
     [](const auto& folder) {
       fs::create_directories(folder / "data");
       auto database = scheduler::SqliteDatabase::open(folder / "data/scheduler.db");
       REQUIRE(database.ok());
       REQUIRE(database.value().execute("PRAGMA user_version = 99").ok());
       return std::vector<std::string>{"scheduler", "--config", scheduler_config(folder)};
     },
     "FOLDER/data/scheduler.db: it is of schema version 99, this program knows version "},
};

}  // namespace

TEST_CASE("Bad input: each file that is cut short, damaged or of another version is named with its fault") {
  for (const Row& row : rows) {
    const TemporaryFolder folder;
    const Finished outcome = run(row.arrange(folder), Seconds(30));
    std::string message = row.message;
    if (const auto at = message.find("FOLDER"); at != std::string::npos)
      message.replace(at, std::string("FOLDER").size(), folder.string());
    INFO(row.name << ": " << outcome.error);
    CHECK(outcome.status == 1);
    CHECK(outcome.error.find(message) != std::string::npos);
  }
}

TEST_CASE("Bad input: a job file edited while it runs changes nothing, and submitted again is another job") {
  LocalSwarm swarm(1);
  nlohmann::json job = small_job(swarm.folder(), "edited", 1, 300);
  const std::string file = write_job(swarm.folder(), job);
  const auto id_of = [&](const Finished& submitted) {
    INFO(submitted.error);
    REQUIRE(submitted.status == 0);
    return nlohmann::json::parse(submitted.output).at("job").get<std::string>();
  };
  const std::string first = id_of(swarm.ask({"submit", file, "--json"}));
  job["steps"] = 2;
  CHECK(write_job(swarm.folder(), job) == file);
  const std::string second = id_of(swarm.ask({"submit", file, "--json"}));
  CHECK(first == "edited-1");
  CHECK(second == "edited-2");
  const auto jobs = swarm.ask_json({"jobs"}).at("jobs");
  CHECK(jobs[0].at("steps") == 300);
  CHECK(jobs[1].at("steps") == 2);
  CHECK(jobs[1].at("state") == "queued");
}

}  // namespace sidestep::testing

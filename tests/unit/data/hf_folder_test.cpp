#include "daemon/data/hf_folder.h"

#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <nlohmann/json.hpp>

#include "daemon/data/hf_export.h"
#include "tests/unit/data/temporary_folder.h"

namespace sidestep::daemon {
namespace {

using Catch::Contains;
using namespace testing;
namespace fs = std::filesystem;

scheduler::ModelSpec small_model() {
  scheduler::ModelSpec model;
  model.vocab_size = 300;
  model.hidden_size = 8;
  model.intermediate_size = 16;
  model.num_hidden_layers = 1;
  model.num_attention_heads = model.num_key_value_heads = 2;
  model.head_dim = 4;
  model.max_position_embeddings = 16;
  return model;
}

// Not a model's tensors: the folder does not care.
const std::vector<TensorInfo> tensors{{.name = "a", .shape = {10}},
                                      {.name = "b", .shape = {10}},
                                      {.name = "c", .shape = {30}},
                                      {.name = "d", .shape = {5}},
                                      {.name = "e", .shape = {5}}};

Result<net::Payload> filled(const TensorInfo& tensor, char letter) {
  return net::Payload::from_bytes(
      std::vector<std::byte>(static_cast<std::size_t>(4 * tensor.elements()), std::byte(letter)));
}
Result<net::Payload> ones(const TensorInfo& tensor) { return filled(tensor, 1); }

// Exports with files of at most 80 bytes of tensors.
void write_sharded(const std::string& path, const TensorSource& source = ones) {
  const Status status = write_hf_folder(path, small_model(), tensors, source, {.shard_bytes_max = 80});
  INFO(status.message());
  REQUIRE(status.ok());
}

HfFolder must_open(const std::string& path) {
  auto folder = HfFolder::open(path);
  INFO(folder.status().message());
  REQUIRE(folder.ok());
  return folder.value();
}

std::string folder_problem(const std::string& path) { return HfFolder::open(path).status().message(); }

}  // namespace

TEST_CASE("Hugging Face folder: one file of weights, or several with an index") {
  const TemporaryFolder place;
  REQUIRE(write_hf_folder(place.path("one"), small_model(), tensors, ones, {}).ok());
  write_sharded(place.path("several"));
  CHECK(place.names("one") == std::set<std::string>{"config.json", "model.safetensors"});
  CHECK(place.names("several") == std::set<std::string>{"config.json", "model.safetensors.index.json",
                                                        "model-00001-of-00003.safetensors",
                                                        "model-00002-of-00003.safetensors",
                                                        "model-00003-of-00003.safetensors"});
  const auto index = nlohmann::json::parse(read_file(place.path("several/model.safetensors.index.json")));
  CHECK(index.at("metadata").at("total_size") == 240);
  CHECK(index.at("weight_map").at("c") == "model-00002-of-00003.safetensors");
  for (const char* name : {"one", "several"}) {
    const HfFolder folder = must_open(place.path(name));
    CHECK(folder.model().hidden_size == 8);
    CHECK(folder.names() == std::vector<std::string>{"a", "b", "c", "d", "e"});
    const auto c = folder.tensor("c");
    REQUIRE(c.ok());
    CHECK(c.value().info.shape == std::vector<std::int64_t>{30});
    CHECK(c.value().bytes[77] == std::byte(1));
    CHECK(folder.tensor("f").status().message() == place.path(name) + ": tensor \"f\" is missing");
  }
}

TEST_CASE("Hugging Face folder: its digest changes with one weight, and not with a copy") {
  const TemporaryFolder place;
  write_sharded(place.path("a"));
  fs::copy(place.path("a"), place.path("b"));
  write_sharded(place.path("c"),
                [](const TensorInfo& tensor) { return filled(tensor, tensor.name == "c" ? 2 : 1); });
  const std::string digest = must_open(place.path("a")).digest();
  CHECK_THAT(digest, Catch::StartsWith("sha256:"));
  CHECK(must_open(place.path("b")).digest() == digest);
  CHECK(must_open(place.path("c")).digest() != digest);
}

TEST_CASE("Hugging Face folder: its content digest stands for weights that have no digest themselves") {
  const TemporaryFolder place;
  const std::string path = place.path("m");
  write_sharded(path);
  CHECK(must_open(path).content_digest().value() == must_open(path).digest());
  CHECK(must_open(path).files().size() == 5);

  // As other programs write it: no metadata.
  const std::string header = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  const auto write_plain = [&](char value) {
    for (const std::string& name : place.names("m"))
      if (name != "config.json") fs::remove(path + "/" + name);
    write_bytes(path + "/model.safetensors", std::string(1, static_cast<char>(header.size())) +
                                                 std::string(7, '\0') + header + std::string(8, value));
    return must_open(path);
  };
  const HfFolder one = write_plain(1);
  const std::string digest = one.content_digest().value();
  CHECK(digest != one.digest());
  CHECK(write_plain(1).content_digest().value() == digest);
  CHECK(write_plain(2).digest() == one.digest());
  CHECK(write_plain(2).content_digest().value() != digest);
  CHECK(one.files() == std::vector<std::string>{path + "/config.json", path + "/model.safetensors"});
}

TEST_CASE("Hugging Face folder: what is missing or does not agree is told by file") {
  const TemporaryFolder place;
  const std::string path = place.path("m");
  CHECK(folder_problem(path) ==
        path + ": is not a folder; a model is a folder with config.json and its weights");
  fs::create_directory(path);
  CHECK(folder_problem(path) == path + "/config.json: cannot be read: No such file or directory");
  write_sharded(path);
  const std::string index = path + "/model.safetensors.index.json";
  const std::string good = read_file(index);

  const auto with = [&](const std::string& pointer, const nlohmann::json& value) {
    nlohmann::json json = nlohmann::json::parse(good);
    json[nlohmann::json::json_pointer(pointer)] = value;
    write_bytes(index, json.dump());
    return folder_problem(path);
  };
  CHECK(with("/weight_map", 3) ==
        index + ": \"weight_map\" is missing, or is no object of tensor and file names");
  CHECK(with("/weight_map/a", "../other.safetensors") ==
        index +
            ": tensor \"a\": the string \"../other.safetensors\" is not the name of a .safetensors file in "
            "the same folder");
  CHECK(with("/weight_map/a", 7) ==
        index + ": tensor \"a\": 7 is not the name of a .safetensors file in the same folder");
  CHECK(with("/weight_map/a", "none.safetensors") ==
        path + "/none.safetensors: cannot be opened: No such file or directory");
  CHECK(with("/weight_map/a", "model-00002-of-00003.safetensors") ==
        path +
            "/model-00002-of-00003.safetensors: tensor \"a\" is missing; model.safetensors.index.json says "
            "that it is here");
  nlohmann::json less = nlohmann::json::parse(good);
  less["weight_map"].erase("b");
  write_bytes(index, less.dump());
  CHECK(folder_problem(path) == path +
                                    "/model-00001-of-00003.safetensors: tensor \"b\" is here, but "
                                    "model.safetensors.index.json does not say so");
  write_bytes(index, good.substr(0, good.size() / 2));
  CHECK_THAT(folder_problem(path), Contains("not JSON"));

  fs::remove(index);
  CHECK(folder_problem(path) == path + ": has neither model.safetensors nor model.safetensors.index.json");
  write_bytes(path + "/pytorch_model.bin", "x");
  CHECK_THAT(folder_problem(path), Contains("pytorch_model.bin is not read, save the model as safetensors"));
}

TEST_CASE("Hugging Face folder: a truncated file is refused, a flipped bit when its tensor is read") {
  const TemporaryFolder place;
  const std::string path = place.path("m");
  write_sharded(path);
  const std::string file = path + "/model-00002-of-00003.safetensors";
  std::string content = read_file(file);
  write_bytes(file, content.substr(0, content.size() - 20));
  CHECK(folder_problem(path) ==
        file +
            ": tensor \"c\": ends at byte 120 of the data, which has only 100; the file is "
            "cut short");
  content[content.size() - 9] ^= 64;
  write_bytes(file, content);
  const HfFolder folder = must_open(path);
  CHECK(folder.tensor("a").ok());
  CHECK_THAT(folder.tensor("c").status().message(),
             Contains(file + ": tensor \"c\": its bytes are not the ones"));
  CHECK(folder.content_digest().status().message() == folder.tensor("c").status().message());
}

TEST_CASE("Export: takes the place of an older one as a whole, with fewer files too") {
  const TemporaryFolder place;
  write_sharded(place.path("m"));
  REQUIRE(write_hf_folder(place.path("m/"), small_model(), tensors, ones, {}).ok());
  CHECK(place.names("m") == std::set<std::string>{"config.json", "model.safetensors"});
  CHECK(place.names() == std::set<std::string>{"m"});
  fs::create_directory_symlink(place.path("m"), place.path("link"));
  write_sharded(place.path("link"));
  CHECK(fs::is_symlink(place.path("link")));
  CHECK(place.names("m").size() == 5);
}

TEST_CASE("Export: tokenizer and generation config come along") {
  const TemporaryFolder place;
  write_sharded(place.path("from"));
  write_bytes(place.path("from/tokenizer.json"), "{}");
  write_bytes(place.path("from/generation_config.json"), "{\"eos_token_id\": 2}");
  REQUIRE(write_hf_folder(place.path("to"), small_model(), tensors, ones, {.companions = place.path("from")})
              .ok());
  CHECK(place.names("to") == std::set<std::string>{"config.json", "generation_config.json",
                                                   "model.safetensors", "tokenizer.json"});
  CHECK(read_file(place.path("to/generation_config.json")) == "{\"eos_token_id\": 2}");
}

TEST_CASE("Export: a tokenizer put beside an older export stays, unless a new one comes along") {
  const TemporaryFolder place;
  write_sharded(place.path("m"));
  write_bytes(place.path("m/tokenizer.model"), "mine");
  write_bytes(place.path("m/tokenizer.json"), "older");
  fs::create_directory(place.path("from"));
  write_bytes(place.path("from/tokenizer.json"), "newer");
  REQUIRE(write_hf_folder(place.path("m"), small_model(), tensors, ones, {.companions = place.path("from")})
              .ok());
  CHECK(place.names("m") ==
        std::set<std::string>{"config.json", "model.safetensors", "tokenizer.json", "tokenizer.model"});
  CHECK(read_file(place.path("m/tokenizer.model")) == "mine");
  CHECK(read_file(place.path("m/tokenizer.json")) == "newer");
}

TEST_CASE("Export: a folder that holds something else is not replaced") {
  const TemporaryFolder place;
  fs::create_directory(place.path("home"));
  write_bytes(place.path("home/thesis.tex"), "x");
  CHECK(write_hf_folder(place.path("home"), small_model(), tensors, ones, {}).message() ==
        place.path("home") +
            ": holds \"thesis.tex\", which is no part of an export and would be lost; name another folder");
  CHECK(write_hf_folder(place.path("home/thesis.tex"), small_model(), tensors, ones, {}).message() ==
        place.path("home/thesis.tex") + ": is there and is no folder");
  CHECK_THAT(write_hf_folder(place.path("none/m"), small_model(), tensors, ones, {}).message(),
             Contains("none/m: cannot be written: No such file or directory"));
  CHECK(place.names() == std::set<std::string>{"home"});
}

TEST_CASE("Export: a full disk leaves the old export whole") {
  const TemporaryFolder place;
  write_sharded(place.path("m"));
  const std::string before = must_open(place.path("m")).digest();
  // A limit on the size of files stands in for the disk's; without a handler it would end the process.
  struct rlimit old_limit;
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &old_limit) == 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small { .rlim_cur = 600, .rlim_max = old_limit.rlim_max };
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const Status failed = write_hf_folder(place.path("m"), small_model(), tensors,
                                        [](const TensorInfo& tensor) { return filled(tensor, 2); }, {});
  ::setrlimit(RLIMIT_FSIZE, &old_limit);
  std::signal(SIGXFSZ, old_handler);
  CHECK_THAT(failed.message(), Catch::StartsWith(place.path("m") + ": the export failed: "));
  CHECK_THAT(failed.message(), Contains("model.safetensors: cannot be written: File too large"));
  CHECK(failed.code() == Code::io);
  CHECK(must_open(place.path("m")).digest() == before);
  CHECK(place.names() == std::set<std::string>{"m"});
}

}  // namespace sidestep::daemon

#include "daemon/data/dataset.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "net/digest.h"

namespace sidestep::daemon {
namespace {

using Catch::Contains;
using Catch::StartsWith;

// A file of its own for each test case, gone with it.
class TempFile {
 public:
  explicit TempFile(const std::string& content) {
    static int count = 0;
    path_ = (std::filesystem::temp_directory_path() /
             ("sidestep-dataset-" + std::to_string(::getpid()) + "-" + std::to_string(count++)))
                .string();
    std::ofstream(path_, std::ios::binary) << content;
  }
  ~TempFile() { std::filesystem::remove(path_); }
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

scheduler::DataSpec text_spec(const std::string& path) {
  scheduler::DataSpec spec;
  spec.path = path;
  spec.sequence_length = 4;
  spec.validation_share = 0;
  return spec;
}

std::string dataset_problem(const scheduler::DataSpec& spec, std::int64_t vocab_size = 256,
                            bool validation = false) {
  const auto opened = Dataset::open(spec, vocab_size, validation);
  REQUIRE_FALSE(opened.ok());
  CHECK_THAT(opened.status().message(), Contains(spec.path));
  return opened.status().message();
}

}  // namespace

TEST_CASE("Digest of known bytes") {
  const std::string abc = "abc";
  const std::string expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  CHECK(net::sha256(std::as_bytes(std::span(abc))) == expected);
  const TempFile file(abc);
  CHECK(net::sha256_file(file.path()).value() == expected);
  CHECK_FALSE(net::sha256_file("/nowhere/at/all").ok());
}

TEST_CASE("Dataset of text: bytes are tokens, the last part is held out") {
  const TempFile file("abcdefghij0123456789");
  auto spec = text_spec(file.path());
  spec.validation_share = 0.25;
  const auto data = Dataset::open(spec, 256, true).value();
  CHECK(data->tokens() == 20);
  CHECK(data->training_tokens() == 15);
  CHECK(data->validation_tokens() == 5);
  std::vector<std::int64_t> tokens(3);
  data->read(9, tokens);
  CHECK(tokens == std::vector<std::int64_t>{'j', '0', '1'});
}

TEST_CASE("Dataset of token files: uint16 and uint32") {
  const TempFile file(std::string("\x01\x00\x02\x01\x03\x00\x04\x00\x05\x00\x06\x00\x07\x00\x08\x00", 16));
  auto spec = text_spec(file.path());
  spec.format = "tokens";
  spec.sequence_length = 2;
  std::vector<std::int64_t> tokens(2);
  Dataset::open(spec, 300, false).value()->read(0, tokens);
  CHECK(tokens == std::vector<std::int64_t>{1, 258});
  spec.token_type = "uint32";
  Dataset::open(spec, 1 << 26, false).value()->read(2, tokens);
  CHECK(tokens == std::vector<std::int64_t>{0x60005, 0x80007});
}

TEST_CASE("Dataset: every wrong file is refused by name") {
  SECTION("missing") {
    const auto opened = Dataset::open(text_spec("/nowhere/text.txt"), 256, false);
    CHECK(opened.status().code() == Code::not_found);
    CHECK_THAT(opened.status().message(), Contains("/nowhere/text.txt: cannot be opened: No such file"));
  }
  SECTION("a folder") {
    CHECK_THAT(dataset_problem(text_spec(std::filesystem::temp_directory_path().string())),
               Contains("not a regular"));
  }
  SECTION("empty") {
    const TempFile file("");
    CHECK_THAT(dataset_problem(text_spec(file.path())), Contains("is empty"));
  }
  SECTION("one token short of a sequence and its target") {
    const TempFile file("abcd");
    CHECK_THAT(dataset_problem(text_spec(file.path())),
               Contains("has 4 tokens, shorter than one sequence of 4 tokens and the one after it"));
  }
  SECTION("held-out part too short, when validation is on") {
    const TempFile file("abcdefghij");
    auto spec = text_spec(file.path());
    spec.validation_share = 0.3;
    CHECK(Dataset::open(spec, 256, false).ok());
    CHECK_THAT(dataset_problem(spec, 256, true),
               Contains("the held-out part has 3 tokens") && Contains("raise \"data.validation_share\""));
  }
  SECTION("no whole number of tokens") {
    const TempFile file("abcdefghijk");
    auto spec = text_spec(file.path());
    spec.format = "tokens";
    CHECK_THAT(dataset_problem(spec),
               Contains("11 bytes are not a whole number of uint16 tokens of 2 bytes"));
  }
  SECTION("a token outside the vocabulary") {
    const TempFile file(std::string(5000, 'a') + "z" + std::string(100, 'a'));
    CHECK_THAT(dataset_problem(text_spec(file.path()), 'b'),
               Contains("token 122 at position 5000 is outside the vocabulary of 98"));
  }
  SECTION("another digest") {
    const TempFile file("abcdefgh");
    auto spec = text_spec(file.path());
    spec.digest = net::sha256_file(file.path()).value();
    CHECK(Dataset::open(spec, 256, false).ok());
    const std::string found = spec.digest;
    spec.digest.back() = spec.digest.back() == '0' ? '1' : '0';
    CHECK_THAT(dataset_problem(spec), Contains(found) && Contains(spec.digest));
  }
  SECTION("unknown format, tokenizer, token type") {
    const TempFile file("abcdefgh");
    auto spec = text_spec(file.path());
    spec.tokenizer = "words";
    CHECK_THAT(dataset_problem(spec), Contains("unknown tokenizer \"words\""));
    spec.format = "tokens";
    spec.token_type = "uint7";
    CHECK_THAT(dataset_problem(spec), Contains("unknown token type \"uint7\""));
    spec.format = "pictures";
    CHECK_THAT(dataset_problem(spec), Contains("unknown format \"pictures\""));
  }
}

TEST_CASE("Dataset of several files: one row of tokens, each with its own held-out part") {
  const TempFile letters("abcdefghijklmnopqrst"), digits("0123456789");
  auto spec = text_spec("");
  spec.files = {{letters.path(), "", 2}, {digits.path(), "", 1}};
  spec.sequence_length = 2;
  spec.validation_share = 0.3;
  const auto data = Dataset::open(spec, 256, true).value();
  CHECK(data->parts() == std::vector<DataPart>{{0, 14, 6, 2}, {20, 7, 3, 1}});
  CHECK(data->tokens() == 30);
  CHECK(data->training_tokens() == 21);
  CHECK(data->validation_tokens() == 9);
  std::vector<std::int64_t> tokens(2);
  data->read(18, tokens);
  CHECK(tokens == std::vector<std::int64_t>{'s', 't'});
  data->read(20, tokens);
  CHECK(tokens == std::vector<std::int64_t>{'0', '1'});

  const std::string digests =
      net::sha256_file(letters.path()).value() + " " + net::sha256_file(digits.path()).value();
  CHECK(data->digest() == digests);
  spec.digest = digests;
  CHECK(Dataset::open(spec, 256, true).ok());
  spec.digest.back() = spec.digest.back() == '0' ? '1' : '0';
  CHECK_THAT(Dataset::open(spec, 256, true).status().message(), StartsWith(digits.path() + ": has digest"));
  spec.digest.clear();
  spec.files[0].digest = net::sha256_file(digits.path()).value();
  CHECK_THAT(Dataset::open(spec, 256, true).status().message(), StartsWith(letters.path() + ": has digest"));
}

TEST_CASE("Dataset knows when one of its files has changed or is gone") {
  auto digits = std::make_unique<TempFile>("0123456789");
  const TempFile letters("abcdefghijklmnopqrst");
  auto spec = text_spec("");
  spec.files = {{letters.path(), "", 1}, {digits->path(), "", 1}};
  const auto data = Dataset::open(spec, 256, false).value();
  CHECK(data->up_to_date());
  std::ofstream(letters.path(), std::ios::app) << "u";
  CHECK_FALSE(data->up_to_date());
  const auto again = Dataset::open(spec, 256, false).value();
  digits.reset();
  CHECK_FALSE(again->up_to_date());
}

TEST_CASE("FileIdentity changes with the file") {
  const TempFile file("abcdefgh");
  const auto before = identify_file(file.path()).value();
  CHECK(identify_file(file.path()).value() == before);
  std::ofstream(file.path(), std::ios::app) << "i";
  CHECK_FALSE(identify_file(file.path()).value() == before);
  CHECK_FALSE(identify_file("/nowhere/at/all").ok());
}

}  // namespace sidestep::daemon

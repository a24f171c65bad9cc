#include "daemon/data/tokenizer.h"

#include "daemon/data/sentencepiece_check.h"
#include "net/digest.h"
#include "net/random.h"
#include "tests/unit/data/text_fixture.h"

namespace sidestep::daemon {
namespace {

using namespace testing;

std::string tokenizer_problem(const std::string& model) {
  const TemporaryFolder folder;
  write_bytes(folder.path("t.model"), model);
  const auto opened = open_sentencepiece(folder.path("t.model"));
  if (opened.ok()) return "opened";
  const std::string message = opened.status().message(), prefix = folder.path("t.model") + ": ";
  CHECK_THAT(message, Catch::StartsWith(prefix));
  return message.substr(prefix.size());
}

std::vector<std::int64_t> encoded(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<std::uint32_t> tokens;
  REQUIRE(tokenizer.encode(text, tokens).ok());
  return {tokens.begin(), tokens.end()};
}

// A protobuf field that holds bytes.
std::string field(char number, const std::string& content) {
  std::string bytes(1, static_cast<char>(number << 3 | 2));
  std::size_t size = content.size();
  for (; size >= 0x80; size >>= 7) bytes += static_cast<char>((size & 0x7f) | 0x80);
  return bytes + static_cast<char>(size) + content;
}

}  // namespace

TEST_CASE("Tokenizer of bytes: there and back, a newline between documents") {
  const auto tokenizer = byte_tokenizer();
  CHECK(tokenizer->vocab_size() == 256);
  CHECK(tokenizer->separator() == '\n');
  CHECK(encoded(*tokenizer, "é\n") == std::vector<std::int64_t>{0xc3, 0xa9, '\n'});
  CHECK(tokenizer->decode(encoded(*tokenizer, sample_text(5))) == sample_text(5));
  CHECK(tokenizer->decode(std::vector<std::int64_t>{'a', 256}) == "a\xef\xbf\xbd");
}

TEST_CASE("SentencePiece: there and back, fewer tokens than bytes") {
  const TemporaryFolder folder;
  write_bytes(folder.path("t.model"), tiny_model());
  const auto tokenizer = open_sentencepiece(folder.path("t.model")).value();
  CHECK(tokenizer->vocab_size() == 120);
  CHECK(tokenizer->digest() == net::sha256_file(folder.path("t.model")).value());
  CHECK(tokenizer->separator() == 2);
  const std::string line = sample_text(1).substr(0, sample_text(1).find('\n'));
  const auto tokens = encoded(*tokenizer, line);
  CHECK(tokenizer->decode(tokens) == line);
  CHECK(tokens.size() < line.size());
  CHECK(encoded(*tokenizer, "").empty());
  CHECK(tokenizer->decode(std::vector<std::int64_t>{1 << 20}) == " \xe2\x81\x87 ");
}

TEST_CASE("SentencePiece: a file that is none is refused by name") {
  CHECK(open_sentencepiece("/nowhere/t.model").status().message() ==
        "/nowhere/t.model: cannot be opened: No such file or directory");
  CHECK(tokenizer_problem("") == "is empty");
  CHECK(tokenizer_problem("{\"version\": \"1.0\"}") == "is not a SentencePiece model");
  CHECK(tokenizer_problem(std::string(100, '\0')) == "is not a SentencePiece model");
  const std::string& whole = tiny_model();
  for (std::size_t bytes = 1; bytes < whole.size(); bytes += 97) {
    INFO("cut after " << bytes << " bytes");
    CHECK_THAT(tokenizer_problem(whole.substr(0, bytes)),
               Catch::Equals("is cut short or damaged") || Catch::Equals("is not a SentencePiece model") ||
                   Catch::StartsWith("is no usable SentencePiece model"));
  }
}

TEST_CASE("SentencePiece: a model with a flipped bit is refused or usable, and ends nothing") {
  const TemporaryFolder folder;
  const std::string& whole = tiny_model();
  net::Random random(11);
  std::size_t refused = 0;
  for (int run = 0; run < 400; ++run) {
    const std::size_t bit = random.next() % (8 * whole.size());
    INFO("bit " << bit);
    write_bytes(folder.path("t.model"), flipped(whole, bit));
    const auto opened = open_sentencepiece(folder.path("t.model"));
    if (!opened.ok()) {
      ++refused;
      CHECK_THAT(opened.status().message(), Catch::StartsWith(folder.path("t.model") + ": is "));
      continue;
    }
    std::vector<std::uint32_t> tokens;
    if (opened.value()->encode(sample_text(2), tokens).ok())
      opened.value()->decode(std::vector<std::int64_t>(tokens.begin(), tokens.end()));
  }
  CHECK(refused > 0);
}

TEST_CASE("SentencePiece: a normalizer's table that points outside itself is refused") {
  const std::string piece = field(1, field(1, "a"));
  const auto model = [&](const std::string& table) {
    return piece + field(2, "") + field(3, field(2, table));
  };
  const auto units = [](const std::vector<std::uint32_t>& values) {
    std::string bytes;
    for (const std::uint32_t value : values)
      for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(value >> shift & 0xff);
    return bytes;
  };
  // A root whose children begin at unit 256; "a" leads to a value at unit 512.
  std::vector<std::uint32_t> trie(768, 1u << 31);
  trie[0] = 256u << 10;
  trie[256 + 'a'] = ((256 + 'a') ^ 512u) << 10 | 1u << 8 | 'a';
  trie[512] = 1u << 31 | 2;
  const auto table = [&](const std::string& strings) {
    return units({static_cast<std::uint32_t>(4 * trie.size())}) + units(trie) + strings;
  };
  const std::string outside = "is damaged: its normalizer's table points outside itself";
  CHECK(sentencepiece_problem(model(table(std::string("xy\0z\0", 5)))).empty());
  CHECK(sentencepiece_problem(model(table(std::string("x\0", 2)))) == outside);
  CHECK(sentencepiece_problem(model(table("xyz"))) == outside);
  CHECK(sentencepiece_problem(model("abc")) == outside);
  trie[0] = 1024u << 10;
  CHECK(sentencepiece_problem(model(table(std::string("xy\0z\0", 5)))) == outside);
  trie[0] = 256u << 10;
  trie[256 + 'a'] = static_cast<std::uint32_t>('a') << 10 | 'a';  // back to its own row: a ring
  CHECK(sentencepiece_problem(model(table(std::string("xy\0z\0", 5)))) == outside);
}

}  // namespace sidestep::daemon

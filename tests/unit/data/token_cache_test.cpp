#include "daemon/data/token_cache.h"

#include "daemon/data/dataset.h"
#include "daemon/data/documents.h"
#include "net/digest.h"
#include "tests/unit/data/text_fixture.h"

namespace sidestep::daemon {
namespace {

using namespace testing;
using Catch::Contains;

std::vector<std::int64_t> all_tokens(const scheduler::DataSpec& spec, std::int64_t vocab_size = 256) {
  const auto opened = Dataset::open(spec, vocab_size, false);
  INFO(opened.status().message());
  REQUIRE(opened.ok());
  std::vector<std::int64_t> tokens(opened.value()->tokens());
  opened.value()->read(0, tokens);
  return tokens;
}

std::string all_text(const scheduler::DataSpec& spec) { return byte_tokenizer()->decode(all_tokens(spec)); }

std::string cache_problem(const scheduler::DataSpec& spec, std::int64_t vocab_size = 256) {
  const auto opened = Dataset::open(spec, vocab_size, false);
  return opened.ok() ? "opened" : opened.status().message();
}

scheduler::DataSpec pieces_spec(const TextFolder& folder, const std::string& path,
                                const std::string& format = "text") {
  auto spec = data_spec(path, format);
  spec.tokenizer = "sentencepiece";
  spec.tokenizer_path = folder.write("t.model", tiny_model());
  return spec;
}

}  // namespace

TEST_CASE("Text by bytes: compressed is the same as plain, and only that is kept") {
  const TextFolder folder;
  const std::string text = sample_text(3000);
  CHECK(all_text(data_spec(folder.write("a.txt", text))) == text);
  CHECK(folder.kept().empty());
  CHECK(all_text(data_spec(folder.write("a.txt.zst", compress(text)))) == text);
  CHECK(folder.kept().size() == 1);
  // Known by its first bytes, not by its name.
  CHECK(all_text(data_spec(folder.write("b.txt", compress(text)))) == text);
}

TEST_CASE("A .jsonl: its texts, with a newline after each, blank lines left out") {
  const TextFolder folder;
  const std::string lines =
      "{\"text\": \"one\\ntwo\", \"id\": 1}\n\n  \r\n{\"id\": 2, \"text\": \"\"}\n{\"text\": \"caf\\u00e9\"}";
  CHECK(all_text(data_spec(folder.write("a.jsonl", lines), "jsonl")) == "one\ntwo\n\ncafé\n");
  CHECK(all_text(data_spec(folder.write("a.jsonl.zst", compress(lines)), "jsonl")) == "one\ntwo\n\ncafé\n");
  auto other = data_spec(folder.write("b.jsonl", "{\"body\": \"four five\"}\n"), "jsonl");
  other.field = "body";
  CHECK(all_text(other) == "four five\n");
}

TEST_CASE("A .jsonl: what is wrong is named with its line") {
  const TextFolder folder;
  const auto after_good = [&](const std::string& line) {
    const std::string path = folder.write("a.jsonl", "{\"text\": \"good enough\"}\n\n" + line + "\n");
    const std::string message = cache_problem(data_spec(path, "jsonl"));
    CHECK_THAT(message, Catch::StartsWith(path + ":3: "));
    return message.substr(std::min(message.size(), path.size() + 4));
  };
  CHECK(after_good("{\"text\": \"cut") == "not JSON at column 14");
  CHECK(after_good("{\"text\": \"\xff\"}") == "not JSON at column 11");
  CHECK(after_good("{\"n\": 1e999, \"text\": \"a\"}") == "holds a number that is too large");
  CHECK(after_good("[1]") == "not a JSON object");
  CHECK(after_good("{\"txt\": \"a\"}") == "has no key \"text\" (\"data.field\")");
  CHECK(after_good("{\"text\": 5}") == "key \"text\" (\"data.field\") holds no string but number");
  CHECK(folder.kept().empty());
}

TEST_CASE("Documents: pieces end after a line, else a word, else a character, and lose nothing") {
  const TemporaryFolder folder;
  std::string words, letters;
  while (words.size() < 200'000) words += "word ";
  while (letters.size() < 200'000) letters += "é";
  for (const std::string& text : {sample_text(10'000), words, "x" + letters}) {
    write_bytes(folder.path("f"), text);
    ByteSource source(MappedFile::open(folder.path("f")).value());
    std::string back;
    std::vector<std::string> pieces;
    REQUIRE(read_documents("f", data_spec("f"), source, [&](std::string_view piece, bool) {
              pieces.emplace_back(piece);
              back += piece;
              return Status();
            }).ok());
    CHECK(back == text);
    REQUIRE(pieces.size() > 2);
    for (std::size_t i = 0; i + 1 < pieces.size(); ++i) {
      CHECK(pieces[i].size() <= 64 << 10);
      CHECK(pieces[i].size() > 60 << 10);
      const char last = pieces[i].back();
      const char next = pieces[i + 1].front();
      CHECK((last == '\n' || last == ' ' || next == '\xc3'));
    }
  }
}

TEST_CASE("Text by SentencePiece: the pieces of each part, whatever holds the text") {
  const TextFolder folder;
  const std::string text = sample_text(50);
  const auto tokens = all_tokens(pieces_spec(folder, folder.write("a.txt", text)));
  const auto tokenizer = open_sentencepiece(folder.path("t.model")).value();
  std::vector<std::uint32_t> expected;
  REQUIRE(tokenizer->encode(text, expected).ok());
  CHECK(tokens == std::vector<std::int64_t>(expected.begin(), expected.end()));
  CHECK(all_tokens(pieces_spec(folder, folder.write("a.zst", compress(text)))) == tokens);

  const std::string lines = "{\"text\": \"bane rito\"}\n{\"text\": \"kushan\"}\n";
  const auto documents = all_tokens(pieces_spec(folder, folder.write("a.jsonl", lines), "jsonl"));
  CHECK(std::count(documents.begin(), documents.end(), 2) == 2);
  CHECK(documents.back() == 2);
}

TEST_CASE("A kept token file is used again, and made anew for another text, tokenizer or field") {
  const TextFolder folder;
  const auto spec = pieces_spec(folder, folder.write("a.txt", sample_text(50)));
  const auto tokens = all_tokens(spec);
  REQUIRE(folder.kept().size() == 1);
  const std::string kept = folder.path("cache/" + *folder.kept().begin());
  const auto identity = identify_file(kept).value();
  CHECK(all_tokens(spec) == tokens);
  CHECK(identify_file(kept).value() == identity);
  // The same text elsewhere is the same text.
  auto copy = spec;
  copy.path = folder.write("copy.txt", sample_text(50));
  CHECK(all_tokens(copy) == tokens);
  CHECK(folder.kept().size() == 1);

  folder.write("a.txt", sample_text(51));
  CHECK(all_tokens(spec) != tokens);
  CHECK(folder.kept().size() == 2);
  // A model with other bytes: a field that the library does not know.
  folder.write("t.model", tiny_model() + std::string("\xa2\x06\x01x", 4));
  CHECK(Dataset::open(spec, 256, false).ok());
  CHECK(folder.kept().size() == 3);
}

TEST_CASE("A kept token file that is damaged is made anew") {
  const TextFolder folder;
  const auto spec = pieces_spec(folder, folder.write("a.txt", sample_text(50)));
  const auto tokens = all_tokens(spec);
  const std::string kept = folder.path("cache/" + *folder.kept().begin());
  const std::string whole = read_file(kept);
  for (const std::string& bytes :
       {flipped(whole, 100), whole.substr(0, whole.size() / 2), whole + "x", std::string()}) {
    write_bytes(kept, bytes);
    CHECK(all_tokens(spec) == tokens);
    CHECK(read_file(kept) == whole);
  }
  for (const char* notes : {"", "{", "{\"tokens\": -1}"}) {
    write_bytes(TokenNotes::path_for(kept), notes);
    CHECK(all_tokens(spec) == tokens);
  }
}

TEST_CASE("Damaged text keeps nothing") {
  const TextFolder folder;
  const std::string whole = compress(sample_text(500));
  const std::string path = folder.write("a.zst", whole.substr(0, whole.size() / 2));
  CHECK_THAT(cache_problem(data_spec(path)), Catch::StartsWith(path + ": is cut short"));
  CHECK(folder.kept().empty());
  for (const std::string& name : folder.names("cache")) CHECK_THAT(name, Catch::EndsWith(".lock"));
  const std::string empty = folder.write("b.zst", compress(""));
  CHECK_THAT(cache_problem(data_spec(empty)), Catch::StartsWith(empty + ": the file has 0 tokens"));
}

TEST_CASE("A tokenizer that does not fit the job is refused by name") {
  const TextFolder folder;
  auto spec = pieces_spec(folder, folder.write("a.txt", sample_text(50)));
  CHECK(cache_problem(spec, 119) ==
        spec.tokenizer_path + ": has 120 pieces, more than \"model.vocab_size\", 119");
  CHECK(cache_problem(spec, 120) == "opened");
  const std::string found = net::sha256_file(spec.tokenizer_path).value();
  spec.tokenizer_digest = "sha256:" + std::string(64, '0');
  CHECK(cache_problem(spec) ==
        spec.tokenizer_path + ": has digest " + found + ", the job wants " + spec.tokenizer_digest);
  spec.tokenizer_digest.clear();
  spec.digest = net::sha256_file(spec.path).value() + " sha256:" + std::string(64, '0');
  CHECK_THAT(cache_problem(spec), Catch::StartsWith(spec.tokenizer_path + ": has digest " + found));
  spec.digest = net::sha256_file(spec.path).value() + " " + found;
  CHECK(cache_problem(spec) == "opened");
}

TEST_CASE("A token file with notes is held to them") {
  const TextFolder folder;
  const std::string bytes("\x01\x00\x02\x00\x03\x00\x04\x00\x05\x00\x06\x00", 12);
  const std::string path = folder.write("a.bin", bytes);
  const TokenNotes notes{"tokenizer.json", 7, "uint16", 6, net::sha256_file(path).value()};
  REQUIRE(notes.save(path).ok());
  auto spec = data_spec(path, "tokens");
  CHECK(all_tokens(spec, 7) == std::vector<std::int64_t>{1, 2, 3, 4, 5, 6});
  CHECK_THAT(cache_problem(spec, 6), Contains("token 6 at position 5 is outside the vocabulary of 6"));
  // Without the notes, neither could be told from what it should be.
  for (const std::string& damaged : {bytes.substr(0, 10), flipped(bytes, 17)}) {
    folder.write("a.bin", damaged);
    CHECK_THAT(cache_problem(spec), Catch::StartsWith(path + ": is cut short or changed since it was made") &&
                                        Contains(path + ".json says " + notes.digest));
  }
  folder.write("a.bin", bytes);
  spec.token_type = "uint32";
  CHECK(cache_problem(spec) == path + ": holds uint16 tokens, \"data.token_type\" is uint32");
  folder.write("a.bin.json", "{\"vocab_size\": 0}");
  CHECK_THAT(cache_problem(spec), Contains("a.bin.json: key \"vocab_size\": value 0 is too small") &&
                                      Contains("a.bin.json: missing key \"digest\""));
}

TEST_CASE("A compressed token file is a token file") {
  const TextFolder folder;
  const std::string bytes("\x01\x00\x02\x00\x03\x00\x04\x00\x05\x00\x06\x00", 12);
  CHECK(all_tokens(data_spec(folder.write("a.bin.zst", compress(bytes)), "tokens")) ==
        std::vector<std::int64_t>{1, 2, 3, 4, 5, 6});
  const std::string odd = folder.write("b.bin.zst", compress(bytes.substr(0, 11)));
  CHECK_THAT(cache_problem(data_spec(odd, "tokens")),
             Catch::StartsWith(odd) && Contains("11 bytes are not a whole number of uint16 tokens"));
}

TEST_CASE("A cache folder that cannot be made is named with the way out") {
  const TextFolder folder;
  folder.write("cache", "a file");
  const std::string path = folder.write("a.zst", compress(sample_text(5)));
  CHECK_THAT(cache_problem(data_spec(path)), Catch::StartsWith(folder.path("cache") + ": cannot be made") &&
                                                 Contains("SIDESTEP_CACHE names another folder"));
}

}  // namespace sidestep::daemon

#include "daemon/data/data_report.h"

#include "daemon/data/token_file.h"
#include "net/digest.h"
#include "tests/unit/data/text_fixture.h"

namespace sidestep::daemon {

using namespace testing;

TEST_CASE("Report of text: counts, vocabulary, samples") {
  const TextFolder folder;
  auto spec = data_spec(folder.write("a.txt", "abcabcabcabcabcabcxy"));
  spec.validation_share = 0.3;
  const auto report = report_data(spec, 0, nullptr).value();
  CHECK(report.digest == net::sha256_file(spec.path).value());
  CHECK(report.bytes == 20);
  CHECK(report.tokens == 20);
  CHECK(report.sequences == 3);  // 14 tokens, the last of which is only a target
  CHECK(report.held_out_sequences == 1);
  CHECK(report.distinct_tokens == 5);
  CHECK(report.largest_token == 'y');
  CHECK(report.vocab_size == 256);
  CHECK(report.first.text == "abca");
  CHECK(report.held_out.text == "cabc");
  CHECK(to_text(report) == "file          " + spec.path + "\ndigest        " + report.digest +
                               "\nbytes         20\ntokens        20\n"
                               "sequences     3 to train on, 1 held out\n"
                               "vocabulary    5 tokens in use of 256 (2.0 %), the largest is 121\n"
                               "first         \"abca\"\nheld out      \"cabc\"\n");
  CHECK(to_json(report)["first"]["tokens"] == nlohmann::json({97, 98, 99, 97}));
  CHECK(report_data(spec, 100, nullptr).status().message() ==
        spec.path + ": token 120 at position 18 is outside the vocabulary of 100 (\"model.vocab_size\")");
}

TEST_CASE("Report of a token file: its notes, and ids where nothing decodes them") {
  const TextFolder folder;
  const std::string path = folder.write("a.bin", std::string("\x01\x00\x02\x01\x03\x00\x04\x00\x05\x00", 10));
  REQUIRE(TokenNotes{"words.json", 1000, "uint16", 5, net::sha256_file(path).value()}.save(path).ok());
  CHECK(format_of(path) == "tokens");
  CHECK(token_type_of(path, "uint32") == "uint16");
  const auto report = report_data(data_spec(path, "tokens"), 0, nullptr).value();
  CHECK(report.made_by == "words.json");
  CHECK(report.vocab_size == 1000);
  CHECK(report.vocabulary_share() == 0.005);
  CHECK_THAT(to_text(report), Catch::Contains("first         1 258 3 4\nheld out      none\n"));
}

TEST_CASE("Format by name, by notes, else text") {
  CHECK(format_of("a.jsonl") == "jsonl");
  CHECK(format_of("a.jsonl.zst") == "jsonl");
  CHECK(format_of("a.tokens") == "tokens");
  CHECK(format_of("a.txt.zst") == "text");
  CHECK(format_of("a") == "text");
}

}  // namespace sidestep::daemon

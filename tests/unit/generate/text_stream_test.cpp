#include "daemon/generate/text_stream.h"

#include "net/utf8.h"
#include "tests/unit/data/text_fixture.h"

namespace sidestep::daemon {
namespace {

using namespace testing;

// What add() gives for each of the tokens, then what finish() gives.
std::vector<std::string> pieces(const Tokenizer& tokenizer, const std::vector<std::int64_t>& before,
                                const std::vector<std::int64_t>& tokens) {
  TextStream stream(tokenizer, before);
  std::vector<std::string> all;
  for (const std::int64_t token : tokens) all.push_back(stream.add(token));
  all.push_back(stream.finish());
  return all;
}

std::vector<std::int64_t> bytes(const std::string& text) {
  std::vector<std::int64_t> tokens;
  for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
  return tokens;
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += part;
  return text;
}

using Pieces = std::vector<std::string>;
const std::string broken{net::replacement_character};

}  // namespace

TEST_CASE("Text stream: a character is shown when its last byte is there") {
  const auto tokenizer = byte_tokenizer();
  CHECK(pieces(*tokenizer, {}, bytes("aé€")) == Pieces{"a", "", "é", "", "", "€", ""});
  // The prompt ends within a character: what was shown of it is not shown again.
  CHECK(joined(pieces(*tokenizer, bytes("x"), bytes("\xf0\x9f\x90\x8e!"))) == "\xf0\x9f\x90\x8e!");
}

TEST_CASE("Text stream: bytes that are no character come out as U+FFFD") {
  const auto tokenizer = byte_tokenizer();
  CHECK(pieces(*tokenizer, {},
               bytes("\xff"
                     "a")) == Pieces{broken, "a", ""});
  CHECK(pieces(*tokenizer, {},
               bytes("\xe4"
                     "a")) == Pieces{"", broken + "a", ""});
  CHECK(pieces(*tokenizer, {}, bytes("\xe4\xbd")) == Pieces{"", "", broken + broken});
  CHECK(joined(pieces(*tokenizer, {}, bytes("\xe4\xe4\xe4\xe4\xe4\xbd\xa0"))) ==
        broken + broken + broken + broken + "\xe4\xbd\xa0");
  CHECK(joined(pieces(*tokenizer, {}, {'a', 300, 'b'})) == "a" + broken + "b");
}

TEST_CASE("Text stream: SentencePiece gives the text that decoding all at once gives") {
  const TextFolder place;
  const auto tokenizer = open_sentencepiece(place.write("m.model", tiny_model())).value();
  const std::string text = sample_text(20);
  std::vector<std::uint32_t> encoded;
  REQUIRE(tokenizer->encode(text, encoded).ok());
  std::vector<std::int64_t> tokens(encoded.begin(), encoded.end());
  CHECK(joined(pieces(*tokenizer, {}, tokens)) == tokenizer->decode(tokens));
  REQUIRE(tokens.size() > 20);
  const std::vector<std::int64_t> prompt(tokens.begin(), tokens.begin() + 10);
  const std::vector<std::int64_t> rest(tokens.begin() + 10, tokens.end());
  CHECK(tokenizer->decode(prompt) + joined(pieces(*tokenizer, prompt, rest)) == tokenizer->decode(tokens));
}

TEST_CASE("UTF-8: what is missing at the end is counted") {
  CHECK(net::incomplete_utf8("") == 0);
  CHECK(net::incomplete_utf8("a") == 0);
  CHECK(net::incomplete_utf8("€") == 0);
  CHECK(net::incomplete_utf8("a\xe2") == 1);
  CHECK(net::incomplete_utf8("a\xe2\x82") == 2);
  CHECK(net::incomplete_utf8("\xf0\x9f\x90") == 3);
  CHECK(net::incomplete_utf8("\xc1") == 0);      // begins nothing
  CHECK(net::incomplete_utf8("\xe0\x80") == 0);  // an overlong form, whatever follows
  CHECK(net::incomplete_utf8("\xed\xa0") == 0);  // a surrogate
  CHECK(net::incomplete_utf8("\xf4\x90") == 0);  // above U+10FFFF
  CHECK(net::incomplete_utf8("\xf4\x8f") == 2);
  CHECK(net::incomplete_utf8("\x80\x80\x80\x80") == 0);
}

}  // namespace sidestep::daemon

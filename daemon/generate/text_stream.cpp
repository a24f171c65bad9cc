#include "daemon/generate/text_stream.h"

#include <algorithm>

#include "net/utf8.h"

namespace sidestep::daemon {
namespace {

// SentencePiece decodes a part of a character to U+FFFD, and to the character once its last byte is there. No
// character has more bytes, and a token is at least one: what is U+FFFD longer than that stays it.
constexpr std::size_t waiting_tokens_max = 4;

}  // namespace

TextStream::TextStream(const Tokenizer& tokenizer, std::span<const std::int64_t> before)
    : tokenizer_(tokenizer), window_(before.begin(), before.end()), shown_(before.size()) {}

std::string TextStream::add(std::int64_t token) {
  window_.push_back(token);
  const std::string text = tokenizer_.decode(window_);
  if (net::incomplete_utf8(text) > 0) return {};
  if (text.ends_with(net::replacement_character) && window_.size() - shown_ < waiting_tokens_max) return {};
  return flush();
}

std::string TextStream::finish() { return window_.size() == shown_ ? std::string() : flush(); }

std::string TextStream::flush() {
  const std::string before = tokenizer_.decode(std::span(window_).first(shown_));
  const std::string text = tokenizer_.decode(window_);
  const auto differs = std::mismatch(before.begin(), before.end(), text.begin(), text.end());
  auto begin = static_cast<std::size_t>(differs.second - text.begin());
  // Not within a character.
  while (begin > 0 && begin < text.size() && (static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80 &&
         begin < before.size())
    --begin;
  const std::string fresh =
      net::repaired_utf8(std::string_view(text).substr(begin), net::replacement_character);
  // Tokens without text, as those that end a sentence, stay in the window: what follows them is not the
  // beginning of a text.
  if (!fresh.empty()) window_.erase(window_.begin(), window_.begin() + static_cast<std::ptrdiff_t>(shown_));
  shown_ = window_.size();
  return fresh;
}

}  // namespace sidestep::daemon

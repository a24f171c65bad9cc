#include "daemon/data/tokenizer.h"

#include "net/utf8.h"

namespace sidestep::daemon {
namespace {

class ByteTokenizer : public Tokenizer {
 public:
  std::int64_t vocab_size() const override { return 256; }
  const std::string& digest() const override { return digest_; }
  std::optional<std::uint32_t> separator() const override { return '\n'; }
  Status encode(std::string_view text, std::vector<std::uint32_t>& tokens) const override {
    for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
    return {};
  }
  std::string decode(std::span<const std::int64_t> tokens) const override {
    std::string text;
    for (const std::int64_t token : tokens) {
      if (token >= 0 && token < 256)
        text += static_cast<char>(token);
      else
        text += net::replacement_character;
    }
    return text;
  }

 private:
  std::string digest_;
};

}  // namespace

std::shared_ptr<const Tokenizer> byte_tokenizer() { return std::make_shared<ByteTokenizer>(); }

Result<std::shared_ptr<const Tokenizer>> open_tokenizer(const scheduler::DataSpec& spec) {
  if (spec.format == "tokens") return std::shared_ptr<const Tokenizer>();
  if (spec.tokenizer == "bytes") return byte_tokenizer();
  if (spec.tokenizer != "sentencepiece")
    return Status::invalid(spec.name() + ": unknown tokenizer \"" + spec.tokenizer +
                           "\"; known: bytes, sentencepiece");
  auto opened = open_sentencepiece(spec.tokenizer_path);
  if (opened.ok() && !spec.tokenizer_digest.empty() && spec.tokenizer_digest != opened.value()->digest())
    return Status::invalid(spec.tokenizer_path + ": has digest " + opened.value()->digest() +
                           ", the job wants " + spec.tokenizer_digest);
  return opened;
}

}  // namespace sidestep::daemon

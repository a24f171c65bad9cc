#include <sentencepiece_processor.h>

#include <algorithm>
#include <exception>

#include "daemon/data/mapped_file.h"
#include "daemon/data/sentencepiece_check.h"
#include "daemon/data/tokenizer.h"
#include "net/digest.h"

namespace sidestep::daemon {
namespace {

class SentencePieceTokenizer : public Tokenizer {
 public:
  // The library reports most damage and throws on some of its tries.
  Status load(const MappedFile& file) {
    path_ = file.path();
    if (file.bytes().empty()) return Status::invalid(path_ + ": is empty");
    const std::string_view model(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
    if (const std::string problem = sentencepiece_problem(model); !problem.empty())
      return Status::invalid(path_ + ": " + problem);
    try {
      const auto status = processor_.LoadFromSerializedProto(model);
      if (!status.ok()) return damaged(status.ToString());
    } catch (const std::exception& error) {
      return damaged(error.what());
    }
    digest_ = net::sha256(file.bytes());
    return {};
  }

  std::int64_t vocab_size() const override { return processor_.GetPieceSize(); }
  const std::string& digest() const override { return digest_; }
  std::optional<std::uint32_t> separator() const override {
    if (processor_.eos_id() < 0) return std::nullopt;
    return static_cast<std::uint32_t>(processor_.eos_id());
  }

  Status encode(std::string_view text, std::vector<std::uint32_t>& tokens) const override {
    std::vector<int> ids;
    const auto status = processor_.Encode(text, &ids);
    if (!status.ok()) return damaged(status.ToString());
    tokens.insert(tokens.end(), ids.begin(), ids.end());
    return {};
  }

  std::string decode(std::span<const std::int64_t> tokens) const override {
    std::vector<int> ids;
    for (const std::int64_t token : tokens)
      ids.push_back(token < vocab_size() ? static_cast<int>(token) : processor_.unk_id());
    std::string text;
    if (!processor_.Decode(ids, &text).ok()) text.clear();
    return text;
  }

 private:
  Status damaged(const std::string& reason) const {
    return Status::invalid(path_ + ": is no usable SentencePiece model: " + reason);
  }

  std::string path_;
  std::string digest_;
  sentencepiece::SentencePieceProcessor processor_;
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> open_sentencepiece(const std::string& path) {
  auto file = MappedFile::open(path);
  if (!file.ok()) return file.status();
  auto tokenizer = std::make_shared<SentencePieceTokenizer>();
  if (Status status = tokenizer->load(*file.value()); !status.ok()) return status;
  return std::shared_ptr<const Tokenizer>(std::move(tokenizer));
}

}  // namespace sidestep::daemon

#include "daemon/data/documents.h"

#include <nlohmann/json.hpp>
#include <string>

namespace sidestep::daemon {
namespace {

constexpr std::size_t piece_bytes_max = 64 << 10;
constexpr std::size_t line_bytes_max = 256 << 20;

bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

// Precondition: text is longer than a piece.
std::size_t piece_end(std::string_view text) {
  const std::string_view piece = text.substr(0, piece_bytes_max);
  for (const char end : {'\n', ' '})
    if (const auto last = piece.rfind(end); last != std::string_view::npos) return last + 1;
  std::size_t end = piece_bytes_max;
  while (end > piece_bytes_max - 4 && continues_character(text[end])) --end;
  return end;
}

// Gives the sink whole pieces and leaves the rest in `text`.
Status take_pieces(std::string_view& text, const TextSink& sink) {
  while (text.size() > piece_bytes_max) {
    const std::size_t end = piece_end(text);
    if (Status status = sink(text.substr(0, end), false); !status.ok()) return status;
    text.remove_prefix(end);
  }
  return {};
}

Status read_text(ByteSource& source, const TextSink& sink) {
  std::string kept;
  while (true) {
    const auto piece = source.next();
    if (!piece.ok()) return piece.status();
    if (piece.value().empty()) return kept.empty() ? Status() : sink(kept, false);
    kept += piece.value();
    std::string_view text = kept;
    if (Status status = take_pieces(text, sink); !status.ok()) return status;
    kept.erase(0, kept.size() - text.size());
  }
}

class LineReader {
 public:
  LineReader(const std::string& path, const std::string& field, const TextSink& sink)
      : path_(path), field_(field), sink_(sink) {}

  Status take(std::string_view bytes) {
    while (true) {
      const std::size_t end = bytes.find('\n');
      line_ += bytes.substr(0, end);
      if (line_.size() > line_bytes_max)
        return problem("is longer than " + std::to_string(line_bytes_max >> 20) + " MiB");
      if (end == std::string_view::npos) return {};
      if (Status status = finish(); !status.ok()) return status;
      bytes.remove_prefix(end + 1);
    }
  }

  Status finish() {
    if (line_.find_first_not_of(" \t\r") != std::string::npos)
      if (Status status = document(); !status.ok()) return status;
    line_.clear();
    ++number_;
    return {};
  }

 private:
  Status problem(const std::string& what) const {
    return Status::invalid(path_ + ":" + std::to_string(number_) + ": " + what);
  }

  Status document() const {
    nlohmann::json json;
    try {
      json = nlohmann::json::parse(line_);
    } catch (const nlohmann::json::parse_error& error) {
      return problem("not JSON at column " + std::to_string(error.byte));
    } catch (const nlohmann::json::exception&) {
      return problem("holds a number that is too large");
    }
    if (!json.is_object()) return problem("not a JSON object");
    const auto found = json.find(field_);
    if (found == json.end()) return problem("has no key \"" + field_ + "\" (\"data.field\")");
    if (!found->is_string())
      return problem("key \"" + field_ + "\" (\"data.field\") holds no string but " + found->type_name());
    std::string_view text = found->get_ref<const std::string&>();
    if (Status status = take_pieces(text, sink_); !status.ok()) return status;
    return sink_(text, true);
  }

  const std::string& path_;
  const std::string& field_;
  const TextSink& sink_;
  std::string line_;
  std::uint64_t number_ = 1;
};

}  // namespace

Status read_documents(const std::string& path, const scheduler::DataSpec& spec, ByteSource& source,
                      const TextSink& sink) {
  if (spec.format == "text") return read_text(source, sink);
  LineReader lines(path, spec.field, sink);
  while (true) {
    const auto piece = source.next();
    if (!piece.ok()) return piece.status();
    if (piece.value().empty()) return lines.finish();
    if (Status status = lines.take(piece.value()); !status.ok()) return status;
  }
}

}  // namespace sidestep::daemon

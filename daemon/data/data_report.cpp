#include "daemon/data/data_report.h"

#include <algorithm>
#include <cstdio>
#include <unordered_set>
#include <vector>

#include "daemon/data/dataset.h"

namespace sidestep::daemon {
namespace {

// No token of a token file is larger.
constexpr std::int64_t vocab_size_max = std::int64_t{1} << 32;
constexpr std::size_t sample_bytes_shown = 400;

void count_tokens(const Dataset& dataset, DataReport& report) {
  constexpr std::uint64_t block = 1 << 16;
  std::vector<std::int64_t> tokens;
  std::vector<bool> seen;
  std::unordered_set<std::int64_t> seen_large;  // beyond any vocabulary that a model has
  constexpr std::int64_t large = 1 << 24;
  for (std::uint64_t begin = 0; begin < dataset.tokens(); begin += block) {
    tokens.resize(std::min(block, dataset.tokens() - begin));
    dataset.read(begin, tokens);
    for (const std::int64_t token : tokens) {
      report.largest_token = std::max(report.largest_token, token);
      if (token >= large) {
        seen_large.insert(token);
        continue;
      }
      if (static_cast<std::size_t>(token) >= seen.size()) seen.resize(static_cast<std::size_t>(token) + 1);
      seen[static_cast<std::size_t>(token)] = true;
    }
  }
  report.distinct_tokens =
      static_cast<std::uint64_t>(std::count(seen.begin(), seen.end(), true)) + seen_large.size();
}

DataSample sample(const Dataset& dataset, std::uint64_t first, std::int64_t length,
                  const Tokenizer* decoder) {
  DataSample taken;
  taken.tokens.resize(static_cast<std::size_t>(length));
  dataset.read(first, taken.tokens);
  if (decoder != nullptr) taken.text = decoder->decode(taken.tokens);
  return taken;
}

nlohmann::json to_json(const DataSample& sample) {
  return {{"tokens", sample.tokens}, {"text", sample.text}};
}

std::string shown(const DataSample& sample) {
  if (sample.tokens.empty()) return "none";
  std::string text;
  if (sample.text.empty()) {
    for (const std::int64_t token : sample.tokens) text += (text.empty() ? "" : " ") + std::to_string(token);
  } else {
    text = nlohmann::json(sample.text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  if (text.size() <= sample_bytes_shown) return text;
  std::size_t end = sample_bytes_shown;
  while ((static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end) + "…";
}

std::string without_zst(const std::string& path) {
  return path.ends_with(".zst") ? path.substr(0, path.size() - 4) : path;
}

}  // namespace

double DataReport::vocabulary_share() const {
  return vocab_size == 0 ? 0 : static_cast<double>(distinct_tokens) / static_cast<double>(vocab_size);
}

std::string format_of(const std::string& path) {
  const std::string name = without_zst(path);
  if (name.ends_with(".jsonl")) return "jsonl";
  if (name.ends_with(".bin") || name.ends_with(".tokens")) return "tokens";
  const auto notes = TokenNotes::load(path);
  return notes.ok() && notes.value() ? "tokens" : "text";
}

std::string token_type_of(const std::string& path, const std::string& otherwise) {
  const auto notes = TokenNotes::load(path);
  return notes.ok() && notes.value() ? notes.value()->token_type : otherwise;
}

Result<DataReport> report_data(const scheduler::DataSpec& spec, std::int64_t vocab_size,
                               const Tokenizer* decoder) {
  const auto opened = Dataset::open(spec, vocab_size == 0 ? vocab_size_max : vocab_size, false);
  if (!opened.ok()) return opened.status();
  const Dataset& dataset = *opened.value();
  DataReport report;
  report.path = spec.path;
  report.digest = dataset.digest();
  report.vocab_size = vocab_size;
  if (dataset.tokenizer() != nullptr) {
    decoder = dataset.tokenizer();
    if (vocab_size == 0) report.vocab_size = decoder->vocab_size();
  } else if (const auto notes = TokenNotes::load(spec.path); notes.ok() && notes.value()) {
    report.made_by = notes.value()->tokenizer;
    if (vocab_size == 0) report.vocab_size = notes.value()->vocab_size;
  }
  const auto identity = identify_file(spec.path);
  if (!identity.ok()) return identity.status();
  report.bytes = identity.value().bytes;
  report.tokens = dataset.tokens();
  const auto length = static_cast<std::uint64_t>(spec.sequence_length);
  const DataPart& part = dataset.parts().front();
  report.sequences = (part.training - 1) / length;
  report.held_out_sequences = part.validation == 0 ? 0 : (part.validation - 1) / length;
  count_tokens(dataset, report);
  report.first = sample(dataset, 0, spec.sequence_length, decoder);
  if (report.held_out_sequences > 0)
    report.held_out = sample(dataset, part.training, spec.sequence_length, decoder);
  return report;
}

nlohmann::json to_json(const DataReport& report) {
  return {{"path", report.path},
          {"digest", report.digest},
          {"made_by", report.made_by},
          {"bytes", report.bytes},
          {"tokens", report.tokens},
          {"sequences", report.sequences},
          {"held_out_sequences", report.held_out_sequences},
          {"vocab_size", report.vocab_size},
          {"distinct_tokens", report.distinct_tokens},
          {"vocabulary_share", report.vocabulary_share()},
          {"largest_token", report.largest_token},
          {"first", to_json(report.first)},
          {"held_out", to_json(report.held_out)}};
}

std::string to_text(const DataReport& report) {
  std::string text;
  const auto line = [&](std::string name, const std::string& value) {
    name.resize(14, ' ');
    text += name + value + '\n';
  };
  line("file", report.path);
  line("digest", report.digest);
  if (!report.made_by.empty()) line("made by", report.made_by);
  line("bytes", std::to_string(report.bytes));
  line("tokens", std::to_string(report.tokens));
  line("sequences", std::to_string(report.sequences) + " to train on, " +
                        std::to_string(report.held_out_sequences) + " held out");
  std::string vocabulary = std::to_string(report.distinct_tokens) + " tokens in use";
  if (report.vocab_size > 0) {
    char percent[32];
    std::snprintf(percent, sizeof(percent), "%.1f %%", 100 * report.vocabulary_share());
    vocabulary += " of " + std::to_string(report.vocab_size) + " (" + percent + ")";
  }
  line("vocabulary", vocabulary + ", the largest is " + std::to_string(report.largest_token));
  line("first", shown(report.first));
  line("held out", shown(report.held_out));
  return text;
}

}  // namespace sidestep::daemon

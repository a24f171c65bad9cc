// What `sidestep data check` tells about a file.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "daemon/data/tokenizer.h"
#include "net/status.h"
#include "scheduler/job.h"

namespace sidestep::daemon {

struct DataSample {
  std::vector<std::int64_t> tokens;
  std::string text;  // empty where nothing decodes the tokens
};

struct DataReport {
  std::string path;
  std::string digest;   // as a job names it
  std::string made_by;  // what the notes beside a token file name as its tokenizer
  std::uint64_t bytes = 0;
  std::uint64_t tokens = 0;
  std::uint64_t sequences = 0;  // to train on
  std::uint64_t held_out_sequences = 0;
  std::int64_t vocab_size = 0;  // as asked for, or the tokenizer's, or that of the notes; 0: nobody knows
  std::uint64_t distinct_tokens = 0;
  std::int64_t largest_token = 0;
  DataSample first;
  DataSample held_out;  // without tokens where the held-out part has no whole sequence

  // Of the vocabulary; 0 where nobody knows its size.
  double vocabulary_share() const;
};

// The format that the name says: .jsonl, .bin and .tokens, or notes beside it; each also with .zst. Else
// text.
std::string format_of(const std::string& path);
// The type that the notes beside a token file say, else `otherwise`.
std::string token_type_of(const std::string& path, const std::string& otherwise);

// Opens the data of one file like a node that trains on it, and reads every token. `vocab_size` 0: not
// given. `decoder` decodes the samples of a token file; may be null.
Result<DataReport> report_data(const scheduler::DataSpec& spec, std::int64_t vocab_size,
                               const Tokenizer* decoder);

nlohmann::json to_json(const DataReport& report);
// For people: one fact a line.
std::string to_text(const DataReport& report);

}  // namespace sidestep::daemon

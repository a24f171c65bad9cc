// What a line of `sidestep generate` asks for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sidestep::cli {

struct GenerateRequest {
  // One of both.
  std::string model;        // a Hugging Face folder
  std::string job;          // whose weights are exported first
  std::string config = {};  // the operator's config file, for `job`

  // The prompt, in at most one form; none: an empty text.
  std::string prompt;
  std::string prompt_file;  // "-": standard input
  std::vector<std::int64_t> prompt_tokens;

  std::optional<std::int64_t> max_tokens;
  double temperature = 0.8;
  std::int64_t top_k = 0;
  double top_p = 1;
  std::uint64_t seed = 0;
  std::int64_t samples = 1;

  // Instead of sampling: a file to measure the loss on.
  std::string perplexity;
  std::optional<std::int64_t> sequence_length;

  std::optional<std::int64_t> stages;
  std::vector<std::int64_t> skip_stages;
  std::string device = "cpu";
  std::string precision = "float32";
  std::int64_t threads = 0;  // 0: one per core
  bool json = false;
};

}  // namespace sidestep::cli

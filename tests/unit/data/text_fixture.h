// Text, compressed or not, a tiny SentencePiece model, and a cache folder, all gone with the test case.
#pragma once

#include <zstd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <string>

#include "scheduler/job.h"
#include "tests/unit/data/temporary_folder.h"

namespace sidestep::daemon::testing {

// Lines of made-up words, the same each time.
std::string sample_text(std::size_t lines);
// A unigram model of a few hundred pieces over sample_text, trained once a process.
const std::string& tiny_model();

inline std::string compress(const std::string& text, int level = 3) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  const std::size_t bytes = ZSTD_compress(out.data(), out.size(), text.data(), text.size(), level);
  REQUIRE_FALSE(ZSTD_isError(bytes));
  out.resize(bytes);
  return out;
}

// A folder whose sub-folder "cache" is SIDESTEP_CACHE.
class TextFolder : public TemporaryFolder {
 public:
  TextFolder() { ::setenv("SIDESTEP_CACHE", path("cache").c_str(), 1); }
  ~TextFolder() { ::unsetenv("SIDESTEP_CACHE"); }

  std::string write(const std::string& name, const std::string& bytes) const {
    write_bytes(path(name), bytes);
    return path(name);
  }
  // The token files kept.
  std::set<std::string> kept() const {
    std::set<std::string> tokens;
    if (std::filesystem::exists(path("cache")))
      for (const std::string& name : names("cache"))
        if (name.ends_with(".tokens")) tokens.insert(name);
    return tokens;
  }
};

inline scheduler::DataSpec data_spec(const std::string& path, const std::string& format = "text") {
  scheduler::DataSpec spec;
  spec.path = path;
  spec.format = format;
  spec.sequence_length = 4;
  spec.validation_share = 0;
  return spec;
}

inline std::string flipped(std::string bytes, std::size_t bit) {
  bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
  return bytes;
}

}  // namespace sidestep::daemon::testing

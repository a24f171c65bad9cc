// The text of tokens that come one by one, for a terminal: whole characters only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "daemon/data/tokenizer.h"

namespace sidestep::daemon {

// Owner: whoever prints. The tokenizer must outlive it. What add() and finish() give, put together, is UTF-8:
// bytes that are none come out as U+FFFD.
class TextStream {
 public:
  // `before`: tokens of the text that was shown already; a tokenizer may join the next one to them.
  TextStream(const Tokenizer& tokenizer, std::span<const std::int64_t> before);

  // What can be shown after this token: nothing while a character is not complete.
  std::string add(std::int64_t token);
  // The rest, which is incomplete. Nothing may be added after it.
  std::string finish();

 private:
  std::string flush();

  const Tokenizer& tokenizer_;
  // The tokens last shown, for what a tokenizer does between tokens, then those that wait.
  std::vector<std::int64_t> window_;
  std::size_t shown_ = 0;  // of the window
};

}  // namespace sidestep::daemon

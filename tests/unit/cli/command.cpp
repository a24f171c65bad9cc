#include "tests/unit/cli/command.h"

#include "tests/support/capture.h"

namespace sidestep::testing {

Outcome run_line(std::vector<std::string> words, const cli::Wiring& wiring) {
  words.insert(words.begin(), "sidestep");
  std::vector<const char*> pointers;
  for (const std::string& word : words) pointers.push_back(word.c_str());
  Outcome outcome;
  outcome.error = capture_stderr([&] {
    outcome.output = capture_stdout(
        [&] { outcome.status = cli::run(static_cast<int>(pointers.size()), pointers.data(), wiring); });
  });
  return outcome;
}

}  // namespace sidestep::testing

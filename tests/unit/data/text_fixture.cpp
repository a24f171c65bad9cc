#include "tests/unit/data/text_fixture.h"

#include <sentencepiece_trainer.h>

#include "net/random.h"

namespace sidestep::daemon::testing {

std::string sample_text(std::size_t lines) {
  static const char* const syllables[] = {"ba", "ne", "ri", "to", "ku", "shan", "le", "mor", "é", "tz"};
  net::Random random(7);
  std::string text;
  for (std::size_t line = 0; line < lines; ++line) {
    for (std::uint64_t words = 3 + random.next() % 6; words > 0; --words) {
      for (std::uint64_t parts = 1 + random.next() % 3; parts > 0; --parts)
        text += syllables[random.next() % std::size(syllables)];
      text += words > 1 ? ' ' : '\n';
    }
  }
  return text;
}

const std::string& tiny_model() {
  static const std::string model = [] {
    const TemporaryFolder folder;
    write_bytes(folder.path("text"), sample_text(400));
    // With a piece of the user's own, which has a table of its own in the library.
    const auto status = sentencepiece::SentencePieceTrainer::Train(
        "--input=" + folder.path("text") + " --model_prefix=" + folder.path("tiny") +
        " --vocab_size=120 --model_type=unigram --character_coverage=1.0 --minloglevel=2 --num_threads=1"
        " --normalization_rule_name=identity --remove_extra_whitespaces=false"
        " --user_defined_symbols=NEWLINE");
    INFO(status.ToString());
    REQUIRE(status.ok());
    return read_file(folder.path("tiny.model"));
  }();
  return model;
}

}  // namespace sidestep::daemon::testing

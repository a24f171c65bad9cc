// The loop around a model that counts: after token t comes t + 1, nearly always.
#include "daemon/generate/generation.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "daemon/generate/perplexity.h"
#include "tests/unit/data/text_fixture.h"

namespace sidestep::daemon {
namespace {

using Tokens = std::vector<std::int64_t>;

class CountingModel : public LanguageModel {
 public:
  std::int64_t vocab_size() const override { return 10; }
  std::span<const float> take(std::span<const std::int64_t> tokens) override {
    takes.emplace_back(tokens.begin(), tokens.end());
    held.insert(held.end(), tokens.begin(), tokens.end());
    logits.assign(10, 0);
    logits[static_cast<std::size_t>((held.back() + 1) % 10)] = 5;
    if (held.size() == broken_at) logits[3] = NAN;
    return logits;
  }
  void rewind(std::int64_t tokens) override { held.resize(static_cast<std::size_t>(tokens)); }
  double score(std::span<const std::int64_t> window) override {
    windows.emplace_back(window.begin(), window.end());
    return 2.0 * static_cast<double>(window.size() - 1);
  }

  std::vector<Tokens> takes, windows;
  Tokens held;
  std::size_t broken_at = 0;

 private:
  std::vector<float> logits;
};

class Sink : public GenerationSink {
 public:
  Status begin_sample(std::int64_t) override {
    samples.emplace_back();
    return {};
  }
  Status add(std::int64_t token) override {
    samples.back().push_back(token);
    return static_cast<std::int64_t>(samples.back().size()) == stop_at ? Status::refused("enough") : Status();
  }
  Status end_sample(bool at_end) override {
    ends.push_back(at_end);
    return {};
  }
  std::vector<Tokens> samples;
  std::vector<bool> ends;
  std::int64_t stop_at = -1;
};

const Sampling greedy{.temperature = 0};

}  // namespace

TEST_CASE("Generation: the prompt is taken once, then one token at a time, the last one not at all") {
  CountingModel model;
  Sink sink;
  REQUIRE(generate(model, Tokens{4, 5}, {.tokens = 3, .samples = 2, .sampling = greedy}, sink).ok());
  CHECK(sink.samples == std::vector<Tokens>{{6, 7, 8}, {6, 7, 8}});
  CHECK(sink.ends == std::vector<bool>{false, false});
  CHECK(model.takes == std::vector<Tokens>{{4, 5}, {6}, {7}, {6}, {7}});
}

TEST_CASE("Generation: a sample ends before the token that ends a text") {
  CountingModel model;
  Sink sink;
  REQUIRE(generate(model, Tokens{4}, {.tokens = 9, .sampling = greedy, .ends = {7, 9}}, sink).ok());
  CHECK(sink.samples == std::vector<Tokens>{{5, 6}});
  CHECK(sink.ends == std::vector<bool>{true});
}

TEST_CASE("Generation: samples differ, and the seed gives them again") {
  const auto draw = [](std::uint64_t seed) {
    CountingModel model;
    Sink sink;
    REQUIRE(generate(model, Tokens{0},
                     {.tokens = 12, .samples = 3, .sampling = {.temperature = 3}, .seed = seed}, sink)
                .ok());
    return sink.samples;
  };
  const auto samples = draw(1);
  CHECK(samples[0] != samples[1]);
  CHECK(samples[1] != samples[2]);
  CHECK(draw(1) == samples);
  CHECK(draw(2)[0] != samples[1]);
}

TEST_CASE("Generation: ends with the sink's word, or when a logit is not finite") {
  CountingModel model;
  Sink sink;
  sink.stop_at = 2;
  CHECK(generate(model, Tokens{0}, {.tokens = 5, .sampling = greedy}, sink).message() == "enough");
  CHECK(sink.samples.back().size() == 2);
  CountingModel broken;
  broken.broken_at = 3;
  Sink other;
  CHECK(generate(broken, Tokens{0}, {.tokens = 5, .sampling = greedy}, other).message() ==
        "the model's logits at position 3 are not finite: its training failed, or it needs --precision "
        "float32");
  CHECK(other.samples.back() == Tokens{1, 2});
}

TEST_CASE("Generation: more tokens than the model has positions are refused with the numbers") {
  CHECK(tokens_to_make(10, 22, 32, "config.json").value() == 22);
  CHECK(tokens_to_make(10, 23, 32, "config.json").status().message() ==
        "the prompt has 10 tokens and --max-tokens asks for 23 more; config.json allows 32 together");
  CHECK(tokens_to_make(10, {}, 32, "config.json").value() == 22);
  CHECK(tokens_to_make(10, {}, 5'000, "config.json").value() == 256);
  CHECK_FALSE(tokens_to_make(32, {}, 32, "config.json").ok());
}

TEST_CASE("Perplexity: every token but the first is predicted once, the last window may be short") {
  const testing::TextFolder place;
  auto spec = testing::data_spec(place.write("t.txt", "0123456789"));
  spec.sequence_length = 1;
  const auto data = Dataset::open(spec, 256, false);
  REQUIRE(data.ok());
  CountingModel model;
  std::vector<std::uint64_t> done;
  const auto measured =
      measure_perplexity(model, *data.value(), 4, [&](std::uint64_t at, std::uint64_t total) {
        CHECK(total == 9);
        done.push_back(at);
        return Status();
      });
  REQUIRE(measured.ok());
  CHECK(measured.value().tokens == 9);
  CHECK(measured.value().loss == Approx(2));
  CHECK(measured.value().perplexity() == Approx(std::exp(2.0)));
  CHECK(model.windows ==
        std::vector<Tokens>{{'0', '1', '2', '3', '4'}, {'4', '5', '6', '7', '8'}, {'8', '9'}});
  CHECK(done == std::vector<std::uint64_t>{4, 8, 9});
  const auto stopped = measure_perplexity(
      model, *data.value(), 4, [](std::uint64_t, std::uint64_t) { return Status::refused("enough"); });
  CHECK(stopped.status().message() == "enough");
}

}  // namespace sidestep::daemon

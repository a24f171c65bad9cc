#include "daemon/model/predictor.h"

#include <cmath>

#include "daemon/generate/perplexity.h"
#include "tests/unit/data/temporary_folder.h"
#include "tests/unit/model/model_folder.h"
#include "tests/unit/model/small_job.h"

namespace sidestep::daemon {
namespace {

using namespace testing;
using Tokens = std::vector<std::int64_t>;

std::unique_ptr<Predictor> must_load(const std::string& path, const StageCut& cut = {},
                                     const std::string& precision = "float32", std::int64_t positions = 12) {
  auto predictor = Predictor::load(must_open(path), {"cpu", precision, cut, positions});
  INFO(predictor.status().message());
  REQUIRE(predictor.ok());
  return std::move(predictor).value();
}

// The logits after each position of the tokens, by the stages that train: [positions, vocab].
at::Tensor full_logits(scheduler::JobSpec spec, const Tokens& tokens,
                       const std::set<std::int64_t>& skipped = {}) {
  spec.data.sequence_length = std::ssize(tokens);
  at::Tensor x = at::tensor(tokens).view({1, -1});
  std::vector<Stage> stages;
  for (std::int64_t i = 0; i < spec.pipeline.stages; ++i) stages.emplace_back(spec, i, StageOptions{});
  for (std::size_t i = 0; i < stages.size(); ++i)
    if (!skipped.contains(static_cast<std::int64_t>(i))) x = stages[i].forward(x, nullptr, false);
  return stages[0].logits(x)[0];
}

at::Tensor tensor_of(std::span<const float> values) {
  return at::tensor(at::ArrayRef<float>(values.data(), values.size()));
}

const Tokens sequence{3, 17, 28, 0, 5, 5, 11, 20, 1, 9, 14, 2};

}  // namespace

TEST_CASE("Predictor: with its cache it gives the logits of a whole forward") {
  const TemporaryFolder place;
  auto spec = small_job(2);
  spec.model.num_key_value_heads = GENERATE(1, 2, 4);  // of 4 heads
  spec.model.tie_word_embeddings = GENERATE(false, true);
  write_folder(place.path("m"), spec.model, initial_weights(spec));
  const at::Tensor expected = full_logits(spec, sequence);
  const auto predictor = must_load(place.path("m"));
  for (const std::size_t prompt : {std::size_t{1}, std::size_t{5}, std::size_t{12}}) {
    predictor->rewind(0);
    at::Tensor logits = tensor_of(predictor->take(std::span(sequence).first(prompt)));
    for (std::size_t at = prompt;; ++at) {
      INFO("prompt of " << prompt << ", position " << at);
      CHECK(difference(logits, expected[static_cast<std::int64_t>(at) - 1]) < 1e-5);
      if (at == sequence.size()) break;
      logits = tensor_of(predictor->take(std::span(sequence).subspan(at, 1)));
    }
  }
}

TEST_CASE("Predictor: going back forgets, and what comes then is as if it had never been") {
  const TemporaryFolder place;
  const auto spec = small_job(1);
  write_folder(place.path("m"), spec.model, initial_weights(spec));
  const auto predictor = must_load(place.path("m"));
  predictor->take(std::span(sequence).first(4));
  const at::Tensor first = tensor_of(predictor->take(std::span(sequence).subspan(4, 1)));
  predictor->take(std::span(sequence).subspan(5, 1));
  predictor->rewind(4);
  CHECK(tensor_of(predictor->take(std::span(sequence).subspan(4, 1))).equal(first));
  predictor->rewind(4);
  CHECK_FALSE(tensor_of(predictor->take(std::span(sequence).subspan(6, 1))).equal(first));
}

TEST_CASE("Predictor: stages that are left out do not compute, in either cut") {
  const TemporaryFolder place;
  auto spec = small_job(4, 12);
  spec.pipeline.stage_0_layers = GENERATE(true, false);
  write_folder(place.path("m"), spec.model, initial_weights(spec));
  const auto last = [&](const std::set<std::int64_t>& skipped) {
    const auto predictor = must_load(place.path("m"), {4, spec.pipeline.stage_0_layers, skipped});
    return tensor_of(predictor->take(sequence));
  };
  const std::int64_t end = std::ssize(sequence) - 1;
  CHECK(difference(last({}), full_logits(spec, sequence)[end]) < 1e-5);
  CHECK(difference(last({1, 3}), full_logits(spec, sequence, {1, 3})[end]) < 1e-5);
  CHECK(difference(last({1, 3}), last({})) > 1e-2);
}

TEST_CASE("Predictor: bfloat16 computes as a bfloat16 stage does") {
  const TemporaryFolder place;
  const auto spec = small_job(1);
  write_folder(place.path("m"), spec.model, initial_weights(spec));
  Stage stage(spec, 0, {.compute = at::kBFloat16});
  const at::Tensor tokens = at::tensor(sequence).view({1, -1});
  const at::Tensor expected = stage.logits(stage.forward(tokens, nullptr, false))[0][11];
  const auto predictor = must_load(place.path("m"), {}, "bfloat16");
  CHECK(difference(tensor_of(predictor->take(sequence)), expected) < 2e-2);
}

TEST_CASE("Predictor: its score is the loss of a stage that trains") {
  const TemporaryFolder place;
  const auto spec = small_job(1);
  write_folder(place.path("m"), spec.model, initial_weights(spec));
  Stage stage(spec, 0, {});
  const auto loss_of = [&](const Tokens& window) {
    const at::Tensor tokens = at::tensor(window).view({1, -1});
    return stage.head(stage.forward(inputs_of(tokens), nullptr, false), targets_of(tokens), false, false)
        .loss;
  };
  const auto predictor = must_load(place.path("m"));
  CHECK(predictor->score(sequence) == Approx(11 * loss_of(sequence)).epsilon(1e-6));
  CHECK(predictor->score(std::span(sequence).first(2)) == Approx(loss_of({3, 17})).epsilon(1e-6));

  // The same over a file, in windows of five tokens and a rest.
  std::string bytes;
  for (const std::int64_t token : sequence) bytes += {static_cast<char>(token), '\0'};
  write_bytes(place.path("t.bin"), bytes);
  scheduler::DataSpec data;
  data.path = place.path("t.bin");
  data.format = "tokens";
  data.sequence_length = 1;
  data.validation_share = 0;
  const auto opened = Dataset::open(data, spec.model.vocab_size, false);
  REQUIRE(opened.ok());
  const auto measured = measure_perplexity(*predictor, *opened.value(), 5,
                                           [](std::uint64_t, std::uint64_t) { return Status(); });
  REQUIRE(measured.ok());
  const double loss =
      (5 * loss_of({3, 17, 28, 0, 5, 5}) + 5 * loss_of({5, 11, 20, 1, 9, 14}) + loss_of({14, 2})) / 11;
  CHECK(measured.value().tokens == 11);
  CHECK(measured.value().perplexity() == Approx(std::exp(loss)).epsilon(1e-6));
}

TEST_CASE("Predictor: a model that knows nothing is perplexed by all of its vocabulary") {
  const TemporaryFolder place;
  const auto spec = small_job(1);
  auto weights = initial_weights(spec);
  weights["lm_head.weight"] = at::zeros_like(weights["lm_head.weight"]);
  write_folder(place.path("m"), spec.model, weights);
  const auto predictor = must_load(place.path("m"));
  CHECK(std::exp(predictor->score(sequence) / 11) == Approx(spec.model.vocab_size).epsilon(1e-6));
}

TEST_CASE("Predictor: a damaged folder is refused by tensor") {
  const TemporaryFolder place;
  const auto spec = small_job(1);
  auto weights = initial_weights(spec);
  weights["model.norm.weight"][0] = NAN;
  write_folder(place.path("m"), spec.model, weights);
  CHECK_THAT(Predictor::load(must_open(place.path("m")), {.cut = {}, .positions = 4}).status().message(),
             Catch::Contains("tensor \"model.norm.weight\" has an element that is not finite"));
}

}  // namespace sidestep::daemon
